"""Which requests are EC2's. moto looks for this module beside the backend's `models`."""

from moto.ec2.urls import url_bases

from .responses import StrictEC2Response

__all__ = ["url_bases", "url_paths"]

url_paths = {"{0}/": StrictEC2Response.dispatch}
