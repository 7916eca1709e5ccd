"""The system's page cache: how much of a file is in it, and making it forget a file that a process has mapped. Linux, and the
rights to advise another process's memory (root).
"""

import ctypes
import mmap
import os
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
MADV_PAGEOUT = 21
SYS_PROCESS_MADVISE = 440  # the same on every architecture
LIBC = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def cached_share(path):
    """Of the file's pages, those that are in memory."""
    size = os.path.getsize(path)
    pages = (size + PAGE - 1) // PAGE
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        there = (ctypes.c_ubyte * pages)()
        view = (ctypes.c_char * size).from_buffer(mapped)
        if LIBC.mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), there) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        del view
    return sum(byte & 1 for byte in there) / pages


def mappings(pid, path):
    """(address, bytes) of every place where the process has mapped the file."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as lines:
        for line in lines:
            if line.rstrip().endswith(str(path)):
                first, last = (int(part, 16) for part in line.split()[0].split("-"))
                yield first, last - first


def push_out(path, pid):
    process = os.pidfd_open(pid)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
        for base, length in mappings(pid, path):
            one = Iovec(base, length)
            if LIBC.syscall(SYS_PROCESS_MADVISE, process, ctypes.byref(one), ctypes.c_size_t(1), MADV_PAGEOUT, 0) < 0:
                raise OSError(ctypes.get_errno(), "process_madvise")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
        os.close(process)


def forget(path, pid):
    """Nothing of the file is in memory afterwards, though the process keeps it mapped."""
    for _ in range(50):  # pages that are on their way in, or were used just now, stay at first
        push_out(path, pid)
        left = cached_share(path)
        if left < 0.01:
            return
        time.sleep(0.02)
    raise SystemExit(f"{100 * left:.0f} % of {path} are still in memory: nothing about an empty cache can be measured here")
