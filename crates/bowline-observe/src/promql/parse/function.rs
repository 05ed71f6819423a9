//! Finds what a function's name means.

use promql_parser::parser::Call;

use super::lower::Refused;
use crate::promql::expr::Node;

pub(super) fn lower_call(call: &Call) -> Result<Node, Refused> {
    let name = call.func.name;
    Err(Refused::new(name, format!("`{name}` is not evaluated")))
}
