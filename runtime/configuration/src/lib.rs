//! The component configuration tree: timestamps, merge, reset, subscriptions, snapshots.
