"""The textbook algorithm, as a baseline: read every process, count every child of a master as a worker."""

import psutil


def textbook_run(proc_name: str) -> tuple[int, int]:
    """Count idle and working workers, without a wait between the two readings."""
    title = f"gunicorn: master [{proc_name}]"
    masters = [process for process in psutil.process_iter() if read_arguments(process)[:1] == [title]]
    workers = [worker for master in masters for worker in master.children()]
    first = [worker.cpu_times() for worker in workers]
    second = [worker.cpu_times() for worker in workers]
    working = sum(after > before for before, after in zip(first, second, strict=True))
    return len(workers) - working, working


def read_arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
