//! Rollouts as they are told.

use bowline_deploy::{Rollout, Status, Transition, Verdict};
use bowline_model::{
    deploy::{Figures, Plan},
    units::Share,
};
use bowline_provider_remote::wire;
use bowline_runtime::time::Duration;

/// A rollout with what is known of it now.
pub(super) fn of_status(status: Status) -> wire::Deployment {
    let Status { rollout, waits_for, verdict } = status;
    let (measured, unknown) = match verdict {
        Some(Verdict::Good(figures) | Verdict::Bad(figures, _) | Verdict::Few(figures)) => {
            (Some(of_figures(figures)), None)
        }
        Some(Verdict::Unknown(why)) => (None, Some(why)),
        None => (None, None),
    };
    let waits_for = waits_for.or_else(|| unknown.filter(|_| rollout.is_live()));
    wire::Deployment { waits_for, measured, ..of_rollout(&rollout) }
}

/// A rollout. What it runs and with which variables is nobody's business.
pub(super) fn of_rollout(rollout: &Rollout) -> wire::Deployment {
    let Plan { strategy, steps: _, bake, abort_when, min_requests } = rollout.plan.clone();
    let course = rollout.course();
    let step = rollout.transitions.last().map_or(0, |last| last.step);
    wire::Deployment {
        id: rollout.id,
        service: rollout.service.clone(),
        from: rollout.from.version.clone(),
        to: rollout.to.version.clone(),
        replicas: rollout.to_count,
        strategy,
        bake,
        abort_when,
        min_requests,
        phase: rollout.phase().name().to_owned(),
        is_live: rollout.is_live(),
        step,
        step_count: rollout.step_count(),
        steps: (1..=rollout.step_count()).map(|step| of_weight(course.step(step).weight)).collect(),
        share: of_weight(rollout.weight()),
        begun_unix_ms: rollout.begun_unix_ms,
        why: rollout.why.clone(),
        waits_for: None,
        measured: None,
        transitions: rollout.transitions.iter().map(of_transition).collect(),
    }
}

fn of_transition(transition: &Transition) -> wire::DeploymentTransition {
    let Transition { number, at_unix_ms, phase, step, weight, why } = transition;
    wire::DeploymentTransition {
        number: *number,
        at_unix_ms: *at_unix_ms,
        phase: phase.name().to_owned(),
        step: *step,
        share: of_weight(*weight),
        why: why.clone(),
    }
}

fn of_figures(figures: Figures) -> wire::DeploymentFigures {
    let Figures { requests, error_ratio, quantiles } = figures;
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let named = quantiles.into_iter().map(|(quantile, took)| (quantile.name().to_owned(), nanos(took)));
    wire::DeploymentFigures { requests, error_ratio, quantiles_nanos: named.collect() }
}

/// A weight of 1000 as a share of all requests.
fn of_weight(weight: u32) -> Share {
    Share::from_thousandths(weight.min(1000))
}
