"""What moto works out anew for each answer, and even for each value in it, worked out once."""

from functools import cache
from typing import Any, ClassVar

from moto import backends
from moto.core import responses
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker


def install() -> None:
    """Make moto remember. Call it before the first answer."""
    modules = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    responses.method_names_from_class = cache(responses.method_names_from_class)
    responses.XFormedAttributePicker = _RememberingPicker


class _RememberingPicker(XFormedAttributePicker):  # type: ignore[misc]
    """Looks up once under which names a kind of object has a value of the answer."""

    names: ClassVar[dict[Any, list[str]]] = {}

    def get_possible_keys(self, context: AttributePickerContext) -> list[str]:
        """The names, in order. They depend on the object's class, and on the value's place in the answer."""
        shape = context.shape
        parent = getattr(getattr(shape, "parent", None), "name", None)
        place = (shape.name, shape.serialization.get("name"), parent) if shape is not None else None
        kind = (context.service_model.service_name, type(context.obj), context.key, place)
        if kind not in self.names:
            self.names[kind] = list(super().get_possible_keys(context))
        return self.names[kind]
