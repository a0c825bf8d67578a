#!/bin/sh
# Takes out of /opt/raro what no step ever opens, and compiles what they open: an image is pulled by every node, and on a
# read-only root nothing is compiled later. Bytecode of everything would be half a gigabyte, a quarter of the image.
set -eu
cd /opt/raro/lib/python3*/site-packages
rm -rf torch/test torch/include pyarrow/include                      # for compilers
find torch/bin -type f ! -name torch_shm_manager -delete             # its own tests
find . -type d -name tests -prune -exec rm -rf {} +
rm -f pyarrow/libarrow_flight* pyarrow/_flight*                      # no Flight server is spoken to
rm -rf phonenumbers/geodata phonenumbers/carrierdata phonenumbers/tzdata   # no place, carrier or time is asked of a number
rarely='/(openai|fontTools|networkx|phonenumbers/data|kubernetes/client/(api|models))'
rarely="$rarely"'|^\./databricks/(?!__init__)|/transformers/models/(?!__init__|auto|qwen2/|qwen3/|llama/)'
# Some files are written for a later Python and cannot be compiled; nobody imports them.
/opt/raro/bin/python3 -m compileall -qq -x "$rarely" . || true
