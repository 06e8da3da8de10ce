"""A bundle as what fleets' own update systems take, for devices that edgekit does not reach itself.

    parcel     what each of them carries: the bundle, the agent, and `handover`, which is called on the device
    place      where it is written
    tars       archives whose bytes depend on nothing but their files
    mender     a Mender artifact of payload type directory, with state scripts
    greengrass an AWS IoT Greengrass v2 component: recipe and zip
    deb        a Debian package
    oci        an OCI image layout: files without a system

On the device all of them end in the agent's command `install`: there the golden samples decide, there it goes back.
"""

from importlib import import_module
from types import ModuleType

FORMATS = ("mender", "greengrass", "deb", "oci")


def load_format(name: str) -> ModuleType:
    """The module of a format: `Options`, `IS_FOLDER`, `file_name`, and `export(parcel, options, out) -> Exported`."""
    return import_module(f".{name}", __name__)
