"""What Python runs at its start, in each process that the tests start.

The engine starts Python several times in every run, and most of what each of them does is importing. A third of that
was the search for garbage among what it had just imported.
"""

import gc

gc.set_threshold(200_000, 50, 100)
