//! x
use crate::http::Operation;
pub fn operations() -> Vec<Operation> {
    vec![]
}
