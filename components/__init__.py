"""Kubeflow components: one thin wrapper for each of the steps in `raro.steps`.

A component's file imports only the standard library, kfp and the image's name at its top; its body imports the installed
package and calls the step. IMAGE is the container image that holds the package where no cluster's profile names another:
RARO_IMAGE, as in `make test-containers`.
"""

import os

IMAGE = os.environ.get("RARO_IMAGE", "raro-cpu:unresolved")
