//! AWS IoT: things, certificates, policies, groups, jobs.

pub mod policy;
