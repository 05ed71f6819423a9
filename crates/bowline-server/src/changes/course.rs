//! What happens by itself: rollouts go on, alerts fire, instances come, fall ill and go.

use bowline_model::ServiceName;
use bowline_observe::alerts::{Alerts, Transition, parse_rfc3339};
use bowline_provider_remote::{
    encode,
    wire::{Deployment, DeploymentTransition, HealthState, HealthTransition, SystemChange, SystemChangeKind},
};

use super::{Asked, newest};
use crate::{api::Shared, error::ApiError, health::Standing};

/// The transitions of rollouts; none where nothing is rolled out here.
pub(super) async fn of_rollouts(shared: &Shared, asked: &Asked) -> Result<Vec<SystemChange>, ApiError> {
    if !asked.has_kind(&[SystemChangeKind::Deployment]) {
        return Ok(Vec::new());
    }
    let Some(deployments) = shared.deployments.get() else { return Ok(Vec::new()) };
    let rollouts = deployments.rollouts().await?;
    let changes = rollouts.iter().flat_map(|rollout| {
        let transitions = rollout.transitions.iter().rev();
        transitions.filter(|it| asked.has(it.at_unix_ms)).map(|transition| of_transition(rollout, transition))
    });
    Ok(newest(changes, asked))
}

fn of_transition(rollout: &Deployment, transition: &DeploymentTransition) -> SystemChange {
    let Deployment { service, from, to, step_count, .. } = rollout;
    let DeploymentTransition { number: _, at_unix_ms, phase, step, share, why } = transition;
    let release = |name: &str| if name.is_empty() { "-".to_owned() } else { name.to_owned() };
    let place =
        if *step > 0 { format!(", step {step} of {step_count}, {share} of the requests") } else { String::new() };
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let what = format!("{} → {}: {phase}{place}{why}", release(from), release(to));
    SystemChange {
        at_unix_ms: *at_unix_ms,
        kind: SystemChangeKind::Deployment,
        subject: service.to_string(),
        what,
        actor: None,
        service: Some(service.clone()),
        link: Some(format!("/v1/deployments/{service}")),
    }
}

/// The alerts that began to fire, and those that are over.
pub(super) fn of_alerts(alerts: &Alerts, asked: &Asked) -> Vec<SystemChange> {
    newest(alerts.history().into_iter().filter_map(of_alert), asked)
}

fn of_alert(transition: Transition) -> Option<SystemChange> {
    let Transition { at, group: _, mut labels, from: _, to, value } = transition;
    let what = match to {
        "firing" => format!("fires, at {}", rounded(&value)),
        "resolved" => "is over".to_owned(),
        // One that is pending may come to nothing.
        _ => return None,
    };
    let subject = labels.remove("alertname").unwrap_or_default();
    let service = labels.get("service").and_then(|name| ServiceName::new(name).ok());
    Some(SystemChange {
        at_unix_ms: u64::try_from(parse_rfc3339(&at)?).ok()?,
        kind: SystemChangeKind::Alert,
        subject,
        what,
        actor: None,
        service,
        link: Some("/v1/alerts/history".to_owned()),
    })
}

/// A value by three digits that matter, and all those before the point.
fn rounded(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if (100.0..1e15).contains(&number.abs()) => format!("{number:.0}"),
        Ok(number) if number.abs() < 100.0 => {
            format!("{number:.2e}").parse::<f64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
        }
        _ => value.to_owned(),
    }
}

/// How instances became.
pub(super) fn of_health(standing: &Standing, asked: &Asked) -> Vec<SystemChange> {
    if !asked.has_kind(&[SystemChangeKind::Health, SystemChangeKind::Instance]) {
        return Vec::new();
    }
    // What is about something else takes no place of what is asked for.
    let is_all = asked.kind.is_none() && asked.service.is_none();
    let limit = if is_all { asked.limit } else { usize::MAX };
    let recent = standing.recent(asked.since_ms, asked.until_ms, limit);
    newest(recent.into_iter().map(|(service, it)| of_instance(service, it)), asked)
}

fn of_instance(service: ServiceName, transition: HealthTransition) -> SystemChange {
    let HealthTransition { at_unix_ms, instance, from, to, after_ms: _, why, probe: _ } = transition;
    let (kind, happened) = match (from, to) {
        (HealthState::Unknown, to) => (SystemChangeKind::Instance, format!("came, {}", to.as_str())),
        (_, HealthState::Gone) => (SystemChangeKind::Instance, "went".to_owned()),
        (from, to) => (SystemChangeKind::Health, format!("{} → {}", from.as_str(), to.as_str())),
    };
    SystemChange {
        at_unix_ms,
        kind,
        subject: instance.to_string(),
        what: why.map_or_else(|| happened.clone(), |why| format!("{happened}: {why}")),
        actor: None,
        link: Some(format!("/v1/health/{}", encode(service.as_str()))),
        service: Some(service),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn transition(to: &'static str) -> Transition {
        let labels = [("alertname", "Down"), ("service", "order")];
        let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (at, group) = ("1970-01-01T00:00:01.5Z".to_owned(), "shop".to_owned());
        Transition { at, group, labels, from: "pending", to, value: "3".to_owned() }
    }

    #[test]
    fn values_are_told_by_the_digits_that_matter() {
        for (value, expect) in [
            ("3", "3"),
            ("0", "0"),
            ("0.03333333333333333", "0.0333"),
            ("2.1507142857142867", "2.15"),
            ("-99.96", "-100"),
            ("123456.789", "123457"),
            ("4e-7", "0.0000004"),
            ("1e+20", "1e+20"),
            ("+Inf", "+Inf"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(rounded(value), expect, "{value}");
        }
    }

    #[test]
    fn alerts_are_told_when_they_fire_and_are_over() {
        let fires = of_alert(transition("firing")).unwrap();
        assert_eq!((fires.at_unix_ms, fires.subject.as_str(), fires.what.as_str()), (1500, "Down", "fires, at 3"));
        assert_eq!(fires.service.unwrap().as_str(), "order");
        assert_eq!(of_alert(transition("resolved")).unwrap().what, "is over");
        assert_eq!(of_alert(transition("pending")), None);
        assert_eq!(of_alert(transition("inactive")), None);
    }
}
