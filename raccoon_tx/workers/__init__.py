"""More cores: `server.workers` processes on the same ports, and a parent that starts, watches and ends them.

The parent takes no events. It keeps what has to hold over all workers as if they were one process: the table of
connections, the memory of batches, the metrics. With one worker there is no parent, and nothing here is imported.
"""
