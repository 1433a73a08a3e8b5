"""A loopback Hugging Face Hub for tests: the real ``huggingface_hub``, ``datasets`` and ``diffusers`` clients talk
to it.

It speaks the part of the Hub's HTTP protocol that publishing and loading need, over plain HTTP on a free port, with its
state in a folder. Large files arrive through Xet (the answer ``X-Xet-Cas-Url: local:///folder`` makes ``hf_xet`` write
to a folder, so that no CAS server is needed) or through Git LFS, as the client chooses.

    with LoopHub(tmp_path, users={"secret": "me"}) as hub:
        hub.url                                   # what HF_ENDPOINT has to be
        hub.fail("POST", r"/commit/", 503)        # the next matching request fails
        hub.damage(r"\\.parquet$")                 # files that match are stored with a wrong byte
        hub.requests, hub.writes                  # what was asked, what would have changed something
"""

from tests.support.loophub.server import LoopHub
from tests.support.loophub.state import Repo

__all__ = ["LoopHub", "Repo"]
