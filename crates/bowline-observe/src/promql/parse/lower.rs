//! From the parser crate's tree to ours.

use std::{sync::Arc, time::SystemTime};

use promql_parser::{
    label::{MatchOp, Matchers},
    parser::{self as foreign, AtModifier, LabelModifier, Offset, VectorMatchCardinality},
};

use crate::{
    labels::{Matcher, NAME},
    promql::{
        eval::{Grouping, Operator, Reduce},
        expr::{Aggregate, At, Binary, Node, Selector, Shift, Side, Subquery},
        parse::function,
    },
};

/// Something that the parser crate reads and that is not evaluated here.
#[derive(Debug)]
pub(super) struct Refused {
    /// Where: the word in the expression.
    pub(super) word: String,
    /// Why.
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(word: impl Into<String>, message: impl Into<String>) -> Self {
        Self { word: word.into(), message: message.into() }
    }
}

pub(super) fn lower(expr: &foreign::Expr) -> Result<Node, Refused> {
    Ok(match expr {
        foreign::Expr::Paren(paren) => lower(&paren.expr)?,
        foreign::Expr::NumberLiteral(number) => Node::Number(number.val),
        foreign::Expr::StringLiteral(text) => Node::Text(text.val.as_str().into()),
        foreign::Expr::VectorSelector(selector) => Node::Select(lower_selector(selector)?),
        foreign::Expr::MatrixSelector(range) => {
            Node::Range { selector: lower_selector(&range.vs)?, range_ms: millis(range.range) }
        }
        foreign::Expr::Subquery(subquery) => Node::Subquery(Box::new(Subquery {
            inner: lower(&subquery.expr)?,
            range_ms: millis(subquery.range),
            step_ms: subquery.step.map(millis).filter(|step| *step > 0),
            shift: shift(subquery.at.as_ref(), subquery.offset.as_ref()),
        })),
        foreign::Expr::Unary(unary) => Node::Negate(Box::new(lower(&unary.expr)?)),
        foreign::Expr::Binary(binary) => Node::Binary(Box::new(lower_binary(binary)?)),
        foreign::Expr::Aggregate(aggregate) => Node::Aggregate(Box::new(lower_aggregate(aggregate)?)),
        foreign::Expr::Call(call) => function::lower_call(call)?,
        foreign::Expr::Extension(_) => return Err(Refused::new("", "extensions are not evaluated")),
    })
}

fn lower_selector(selector: &foreign::VectorSelector) -> Result<Selector, Refused> {
    let mut matchers = lower_matchers(&selector.matchers)?;
    if let Some(name) = &selector.name {
        matchers.push(Matcher::equal(NAME, name.as_str()));
    }
    Ok(Selector { matchers, shift: shift(selector.at.as_ref(), selector.offset.as_ref()) })
}

fn lower_matchers(matchers: &Matchers) -> Result<Vec<Matcher>, Refused> {
    if !matchers.or_matchers.is_empty() {
        return Err(Refused::new("or", "`or` between label matchers is not PromQL: use a regular expression"));
    }
    matchers.matchers.iter().map(lower_matcher).collect()
}

fn lower_matcher(matcher: &promql_parser::label::Matcher) -> Result<Matcher, Refused> {
    let (name, value) = (matcher.name.as_str(), matcher.value.as_str());
    let refused = |error: crate::labels::InvalidRegex| Refused::new(name, error.to_string());
    match matcher.op {
        MatchOp::Equal => Ok(Matcher::equal(name, value)),
        MatchOp::NotEqual => Ok(Matcher::not_equal(name, value)),
        MatchOp::Re(_) => Matcher::regex(name, value).map_err(refused),
        MatchOp::NotRe(_) => Matcher::not_regex(name, value).map_err(refused),
    }
}

fn shift(at: Option<&AtModifier>, offset: Option<&Offset>) -> Shift {
    let at = at.map(|at| match at {
        AtModifier::Start => At::Start,
        AtModifier::End => At::End,
        AtModifier::At(time) => At::Millis(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => near(millis(after)),
            Err(before) => -near(millis(before.duration())),
        }),
    });
    let offset_ms = offset.map_or(0, |offset| match offset {
        Offset::Pos(duration) => millis(*duration),
        Offset::Neg(duration) => -millis(*duration),
    });
    Shift { at, offset_ms }
}

/// No farther from 1970 than can be reckoned with.
fn near(at_ms: i64) -> i64 {
    at_ms.min(i64::MAX / 4)
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn lower_binary(binary: &foreign::BinaryExpr) -> Result<Binary, Refused> {
    let word = binary.op.to_string();
    let operator = Operator::of(&word).ok_or_else(|| Refused::new(&word, format!("`{word}` is not evaluated")))?;
    let (mut matching, mut side) = (Grouping::without(&[]), Side::Neither);
    if let Some(modifier) = &binary.modifier {
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return Err(Refused::new("fill", "the modifier `fill` is experimental and not evaluated"));
        }
        matching = modifier.matching.as_ref().map_or(matching, grouping);
        side = match &modifier.card {
            VectorMatchCardinality::ManyToOne(labels) => Side::ManyLeft(shared(&labels.labels)),
            VectorMatchCardinality::OneToMany(labels) => Side::ManyRight(shared(&labels.labels)),
            VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Side::Neither,
        };
    }
    let is_bool = binary.return_bool();
    Ok(Binary { operator, is_bool, matching, side, left: lower(&binary.lhs)?, right: lower(&binary.rhs)? })
}

fn lower_aggregate(aggregate: &foreign::AggregateExpr) -> Result<Aggregate, Refused> {
    let word = aggregate.op.to_string();
    let reduce =
        Reduce::of(&word).ok_or_else(|| Refused::new(&word, format!("`{word}` is experimental and not evaluated")))?;
    let grouping = aggregate.modifier.as_ref().map_or_else(|| Grouping::by(&[]), grouping);
    let parameter = aggregate.param.as_ref().map(|parameter| lower(parameter)).transpose()?;
    Ok(Aggregate { reduce, grouping, parameter, inner: lower(&aggregate.expr)? })
}

fn grouping(modifier: &LabelModifier) -> Grouping {
    match modifier {
        LabelModifier::Include(labels) => Grouping::by(&labels.labels),
        LabelModifier::Exclude(labels) => Grouping::without(&labels.labels),
    }
}

fn shared(labels: &[String]) -> Vec<Arc<str>> {
    labels.iter().map(|label| label.as_str().into()).collect()
}
