"""A release that should not have been made."""
import sys

print("cannot open /dev/sensor0: no such device", file=sys.stderr)
sys.exit(3)
