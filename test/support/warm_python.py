"""Runs scripts in forks of a process that has imported what they need: of a short script, imports are nearly all of its time.

    python warm_python.py MODULE…

Each line on stdin is a script and its arguments, as a JSON array. The answer is a line {"status", "killedBy", "stdout",
"stderr"}; one script runs at a time.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
import traceback


def main(modules):
    for name in modules:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def run(args):
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        pid = os.fork()
        if pid == 0:
            for file, number in ((stdout, 1), (stderr, 2)):
                os.dup2(file.fileno(), number)
            os.close(0)
            os._exit(script(args))
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    killed = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if killed is None else None
    return {"status": code, "killedBy": killed, "stdout": texts[0], "stderr": texts[1]}


def script(args):
    """As `python ARGS` would, to its exit code."""
    code = 0
    try:
        sys.argv = args
        sys.path[0] = os.path.dirname(args[0])
        runpy.run_path(args[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


main(sys.argv[1:])
