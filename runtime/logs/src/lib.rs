//! Where log lines go: journald or rotated files, in the Greengrass formats.
