"""Settings that PyTorch does not choose by itself and that decide how fast it is on a CPU.

They are read from the environment when the process starts, so `restart_tuned` runs the script again with them set.
A variable that the user has already set is left alone.
"""

import os
import sys

MARK = "ACCRUE_PEER_TUNED"

# A training step allocates and frees the same large blocks again and again. glibc gives blocks above a threshold back
# to the kernel at every free and then pays a page fault for every 4 KiB. These settings make it keep its pages:
# never mmap a block, never trim the heap, grow it in large pieces.
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def restart_tuned(threads):
    """Replace this process by the same command with the settings above, once."""
    if os.environ.get(MARK) or not sys.platform.startswith("linux"):
        return
    environment = {MARK: "1", "OMP_NUM_THREADS": str(threads), **MALLOC, **os.environ}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def add_arguments(parser):
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    parser.add_argument("--untuned", action="store_true",
                        help="leave malloc as installed, to see what the tuning is worth")


def apply(arguments):
    """Call this before importing torch."""
    if not arguments.untuned:
        restart_tuned(arguments.threads)
    import torch

    torch.set_num_threads(arguments.threads)
