//! greengrass-cli: the commands people know.
