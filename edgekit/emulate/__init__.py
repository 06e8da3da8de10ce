"""What ARM code costs, counted without ARM: the shipped code and the device's own wheels under QEMU's user mode.

The counts are a proxy to set two artifacts beside each other on one core type. They are never a time.

cores.py       the cores that can be emulated, and the boards that have them
userland.py    the aarch64 userland and wheels, fetched once
qemu.py        QEMU, its plugin (armcount.c, a64.h, entropy.c), and a run under both
probe.py       a program of a few instructions that proves that they count right
guest.py       the machine that it runs on
count.py       from a bundle or a model file to a document
document.py    that document: written, read, and checked
"""
