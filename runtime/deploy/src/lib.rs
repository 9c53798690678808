//! Deployments: queue, resolve, fetch, plan, apply, watch, roll back, resume.
