"""The engine: ExaBGP as a library on our event loop. The only place that imports ``exabgp``.

What must be so before ExaBGP's first module is imported is done here: its settings are read then, and its capability of
host names asks for ours, which without an answering DNS takes as long as the resolver is patient. We offer no host name.
"""

import os

# its logger stays silent: at DEBUG it prints MD5 keys and dies of short headers
os.environ.update({"exabgp_log_enable": "false", "exabgp_log_level": "CRITICAL"})

from exabgp.util import dns

vars(dns).update({"__host_name": "localhost", "__domain_name": "localhost"})
