"""`audiosep` whose sweeps start the fake program, as a process that tests can send signals to."""

import signal
import sys

import sweep_folders

from audiosep_jax.cli import main
from audiosep_jax.sweeps import runner

# A shell that runs the tests in the background ignores SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
runner.Execution = sweep_folders.EXECUTION
sys.exit(main.main())
