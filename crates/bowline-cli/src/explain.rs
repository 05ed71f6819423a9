//! `bowline explain`: what a request would meet at the gateway; and the answer to whoever asks.

use std::{net::IpAddr, process::ExitCode};

use bowline_gateway::{
    Ask, AuthState, BackendState, Demands, Explanation as Explained, Handle, InstanceState, LimitState,
};
use bowline_model::{
    mesh::MeshDemands,
    policy::{BalancePolicy, BreakerPolicy, BreakerScope, CallPolicy, HedgePolicy, OutlierPolicy, Zones},
    units,
};
use bowline_provider_remote::wire::{
    ExplainRequest, ExplainedAuth, ExplainedBackend, ExplainedInstance, ExplainedLimit, Explanation,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    api,
    args::{self, Output},
    style::{self, Paint},
};

/// Asks what would become of a request.
pub(crate) async fn run(args: args::Explain) -> anyhow::Result<ExitCode> {
    let args::Explain { method, url, headers, client, query } = args;
    let request = ExplainRequest { method, url, headers, client: client.map(|client| client.to_string()) };
    let explanation = api::answered(&query, api::client(&query).await?.explain(&request).await)?;
    match query.output {
        Output::Json => api::print_json(&explanation)?,
        Output::Text => {
            for line in lines(&explanation, style::is_coloured()) {
                style::line(&line);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

// === for people ===

fn lines(explanation: &Explanation, is_coloured: bool) -> Vec<String> {
    let Explanation { route, service, status, reason, detail, is_preflight, .. } = explanation;
    let mut lines = Vec::new();
    let mut say = |name: &str, text: String| lines.push(style::plain(&format!("  {name:<11}{text}")));
    if let Some(route) = route {
        say("route", route.clone());
    }
    if let Some(auth) = &explanation.listener_auth {
        say("listener", format!("auth {}", shown_auth(auth)));
    }
    if let Some(limit) = &explanation.listener_limit {
        say("listener", format!("limit {}", shown_limit(limit)));
    }
    if route.is_some() {
        say("auth", explanation.auth.as_ref().map_or_else(|| "nobody is asked who calls".to_owned(), shown_auth));
        say("limit", explanation.limit.as_ref().map_or_else(|| "none".to_owned(), shown_limit));
        say("middleware", or_none(&explanation.middleware.join(", ")));
    }
    if let Some(body_max) = explanation.body_max {
        say("body", format!("at most {}", shown_size(body_max)));
    }
    if let Some(policy) = &explanation.policy {
        say("policy", shown_policy(policy));
    }
    if let Some(MeshDemands { mode, authorization }) = explanation.mesh {
        say("mesh", format!("{}, authorization {}", mode.name(), authorization.name()));
    }
    for backend in &explanation.backends {
        say("backend", format!("{} (weight {})", backend.service, backend.weight));
        for instance in &backend.instances {
            say("", shown_instance(instance));
        }
    }
    let (paint, verdict) = match (status, service) {
        (Some(status), _) if *is_preflight => (Paint::Green, format!("the gateway answers the preflight: {status}")),
        (Some(status), _) => {
            let (reason, detail) = (reason.as_deref().unwrap_or("-"), detail.as_deref().unwrap_or_default());
            (Paint::Red, format!("refused with {status} {reason}: {detail}"))
        }
        (None, Some(service)) => (Paint::Green, format!("goes to {service}")),
        (None, None) => (Paint::Yellow, "goes nowhere".to_owned()),
    };
    lines.insert(0, paint.apply(style::plain(&verdict), is_coloured));
    lines
}

fn shown_auth(auth: &ExplainedAuth) -> String {
    let ExplainedAuth { provider, kind, subject, refused } = auth;
    match (subject, refused) {
        (Some(subject), _) => format!("{provider} ({kind}): {subject}"),
        (None, Some(refused)) => format!("{provider} ({kind}): {refused}"),
        (None, None) => format!("{provider} ({kind})"),
    }
}

fn shown_limit(limit: &ExplainedLimit) -> String {
    let ExplainedLimit { by, rate, burst, window, remaining, retry_after_ms } = limit;
    let left = match (remaining, retry_after_ms) {
        (_, Some(ms)) => format!("; used up, again in {ms} ms"),
        (Some(remaining), None) => format!("; {remaining} left"),
        (None, None) => String::new(),
    };
    let quota = match (window, rate, burst) {
        (Some(window), ..) => window.clone(),
        (None, Some(rate), Some(burst)) => format!("{rate}, burst {burst}"),
        (None, ..) => "a limit".to_owned(),
    };
    format!("{quota}, by {by}{left}")
}

fn shown_policy(policy: &CallPolicy) -> String {
    let CallPolicy { timeout, retry, breaker, balance, outcome: _, outlier, hedge, bulkhead, fallback } = policy;
    let retry = retry.as_ref().map_or_else(
        || "no retry".to_owned(),
        |retry| format!("up to {} attempts, budget {}", retry.attempts_max, retry.budget),
    );
    let breaker = breaker.as_ref().map_or_else(|| "no breaker".to_owned(), shown_breaker);
    let mut parts = vec![format!("timeout {}", units::format_duration(*timeout)), retry, breaker];
    parts.push(shown_balance(balance));
    let ejects = |outlier: &OutlierPolicy| format!("outliers out for {}", outlier.eject_for);
    parts.extend(outlier.as_ref().map(ejects));
    let hedges = |hedge: &HedgePolicy| format!("hedged after {}", units::format_duration(hedge.after));
    parts.extend(hedge.as_ref().map(hedges));
    parts.extend(bulkhead.as_ref().map(|bulkhead| format!("{} calls at a time", bulkhead.calls_max)));
    parts.extend(fallback.as_ref().map(|fallback| format!("fallback {}", fallback.status)));
    parts.join(", ")
}

fn shown_breaker(breaker: &BreakerPolicy) -> String {
    let BreakerPolicy { failure_rate, slow_rate, consecutive, calls_min, per, .. } = breaker;
    let slow = slow_rate.map_or_else(String::new, |rate| format!(" or {rate} slow"));
    let row = consecutive.map_or_else(String::new, |row| format!(" or {row} in a row"));
    let scope = if *per == BreakerScope::Instance { String::new() } else { format!(" by {per}") };
    format!("breaker at {failure_rate} of {calls_min} calls{slow}{row}{scope}")
}

fn shown_balance(balance: &BalancePolicy) -> String {
    let BalancePolicy { by, key, headroom: _, subset: _, slow_start: _, zones, panic_below: _ } = balance;
    let key = key.as_ref().map_or_else(String::new, |key| format!(" by {key}"));
    let zones = if *zones == Zones::Prefer { ", own zone first" } else { "" };
    format!("{}{key}{zones}", by.name())
}

fn shown_size(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

fn shown_instance(instance: &ExplainedInstance) -> String {
    let ExplainedInstance { id, address, health, breaker, ejected, in_flight, is_candidate } = instance;
    let ejected = ejected.as_ref().map_or_else(String::new, |why| format!(", ejected ({why})"));
    let breaker = breaker.as_ref().map_or_else(String::new, |breaker| format!(", breaker {breaker}"));
    let mark = if *is_candidate { "✓" } else { "✗" };
    format!("{mark} {id} {address} {health}{breaker}{ejected}, {in_flight} in flight")
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

// === for whoever asks the API ===

/// What the gateway says, in the words of the API; an error says what is wrong with the question.
pub(crate) async fn answer(gateway: Handle, request: ExplainRequest) -> Result<Explanation, String> {
    Ok(encode(gateway.explain(ask(request)?).await))
}

fn ask(request: ExplainRequest) -> Result<Ask, String> {
    let ExplainRequest { method, url, headers, client } = request;
    let mut map = HeaderMap::new();
    for (name, value) in &headers {
        // The value may be a credential: it is not repeated.
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = parsed.ok_or_else(|| format!("headers: `{name}` has no name or value of a header"))?;
        map.append(name, value);
    }
    let client = client.map_or(Ok(IpAddr::from([127, 0, 0, 1])), |client| {
        client.parse().map_err(|_| format!("client: `{client}` is no IP address"))
    })?;
    Ok(Ask {
        method: method.parse().map_err(|_| format!("method: `{method}` is none"))?,
        url: url.parse().map_err(|_| format!("url: `{url}` is none, write http://shop.localhost/orders/1"))?,
        headers: map,
        client: Some(client),
    })
}

fn encode(explained: Explained) -> Explanation {
    let Explained {
        route,
        service,
        status,
        reason,
        detail,
        is_preflight,
        listener: Demands { auth: listener_auth, limit: listener_limit },
        auth,
        limit,
        middleware,
        body_max,
        policy,
        mesh,
        backends,
    } = explained;
    Explanation {
        route,
        service,
        status,
        reason,
        detail,
        is_preflight,
        listener_auth: listener_auth.map(encode_auth),
        listener_limit: listener_limit.map(encode_limit),
        auth: auth.map(encode_auth),
        limit: limit.map(encode_limit),
        middleware,
        body_max,
        policy,
        mesh,
        backends: backends.into_iter().map(encode_backend).collect(),
    }
}

fn encode_auth(auth: AuthState) -> ExplainedAuth {
    let AuthState { provider, kind, subject, refused } = auth;
    ExplainedAuth { provider, kind, subject, refused }
}

fn encode_limit(limit: LimitState) -> ExplainedLimit {
    let LimitState { policy: _, by, rate, burst, window, remaining, retry_after_ms } = limit;
    ExplainedLimit { by, rate, burst, window, remaining, retry_after_ms }
}

fn encode_backend(backend: BackendState) -> ExplainedBackend {
    let BackendState { service, weight, instances } = backend;
    let instance = |instance: InstanceState| {
        let InstanceState { id, address, health, breaker, ejected, in_flight, is_candidate } = instance;
        ExplainedInstance { id, address, health, breaker, ejected, in_flight, is_candidate }
    };
    ExplainedBackend { service, weight, instances: instances.into_iter().map(instance).collect() }
}

#[cfg(test)]
mod tests {
    use bowline_model::mesh::{Authorization, Mode};

    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told_and_a_header_is_not_repeated() {
        let request = |method: &str, url: &str| ExplainRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer hush\n".to_owned())],
            client: None,
        };
        let told = ask(request("GET", "/")).unwrap_err();
        assert!(told.contains("authorization") && !told.contains("hush"), "{told}");
        for (method, url, part) in [("G T", "/", "method"), ("GET", "http://", "url"), ("GET", "a b", "url")] {
            let told = ask(ExplainRequest { headers: Vec::new(), ..request(method, url) }).unwrap_err();
            assert!(told.starts_with(part), "{told}");
        }
    }

    #[test]
    fn a_refusal_is_told_first() {
        let explanation = Explanation {
            route: Some("orders".to_owned()),
            service: Some("order".to_owned()),
            status: Some(401),
            reason: Some("no_credentials".to_owned()),
            detail: Some("who are you".to_owned()),
            is_preflight: false,
            listener_auth: None,
            listener_limit: None,
            auth: Some(ExplainedAuth {
                provider: "customers".to_owned(),
                kind: "jwt".to_owned(),
                subject: None,
                refused: None,
            }),
            limit: Some(ExplainedLimit {
                by: "subject".to_owned(),
                rate: Some("100/s".to_owned()),
                burst: Some(200),
                window: None,
                remaining: Some(7),
                retry_after_ms: None,
            }),
            middleware: vec!["cors".to_owned(), "request_id".to_owned()],
            body_max: Some(10 << 20),
            policy: Some(CallPolicy::default()),
            mesh: Some(MeshDemands { mode: Mode::Strict, authorization: Authorization::DryRun }),
            backends: Vec::new(),
        };
        assert_eq!(
            lines(&explanation, false),
            [
                "refused with 401 no_credentials: who are you",
                "  route      orders",
                "  auth       customers (jwt)",
                "  limit      100/s, burst 200, by subject; 7 left",
                "  middleware cors, request_id",
                "  body       at most 10 MiB",
                "  policy     timeout 15s, up to 3 attempts, budget 20%, breaker at 50% of 20 calls, p2c-ewma",
                "  mesh       strict, authorization dry-run",
            ]
        );
        let window = Some("100 in 1m".to_owned());
        let by = "address".to_owned();
        let used_up =
            ExplainedLimit { by, rate: None, burst: None, window, remaining: Some(0), retry_after_ms: Some(5) };
        assert_eq!(shown_limit(&used_up), "100 in 1m, by address; used up, again in 5 ms");
    }
}
