"""Kubeflow components: one thin wrapper for each of the steps in `raro.steps`.

A component's file imports only the standard library, kfp and the image's name at its top; its body imports the installed
package and calls the step. IMAGE is the container image that holds the package: RARO_IMAGE names it at compile time.
"""

import os

IMAGE = os.environ.get("RARO_IMAGE", "raro:unresolved")
