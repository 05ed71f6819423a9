//! `bowline call`: a request as a workload of the mesh sends it, to see what becomes of it.
//!
//! Its key is made here and ends with it; its certificate is a real one, which an administrator may ask for.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bowline_identity::{Admission, Identity};
use bowline_model::{
    Instance,
    instance::Health,
    mesh::{SpiffeId, Workload},
};
use bowline_provider_remote::{Client, RemoteIssuer, wire::NewJoinToken};
use bowline_runtime::{metric, rand, task::Guarded, time};
use bowline_transport::{Body, Endpoint, PoolSettings, SharedPool, send};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use crate::{
    FAILED, api,
    args::{self, Output, Query},
    style,
};

/// How long the join token is good, which is used at once.
const JOIN_TTL: Duration = Duration::from_secs(30);
/// The longest a certificate may take.
const CERTIFICATE_MAX: Duration = Duration::from_secs(10);
/// The longest an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sends it, and prints the answer; fails where that is no success.
pub(crate) async fn run(args: args::Call) -> anyhow::Result<ExitCode> {
    let args::Call { caller, service, method, path, data, headers, query } = args;
    let client = api::client(&query).await?;
    let instance = pick(api::answered(&query, client.instances(Some(service.as_str())).await)?.instances)
        .with_context(|| format!("no instance of {service} is registered: `bowline services` shows those there are"))?;
    let (identity, _rotation) = identity(&client, &query, caller).await?;
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, format!("{service}.mesh"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::full(data)).context("no such request can be sent")?;
    let pool = SharedPool::new(PoolSettings { tls: Some(identity.client_tls()), ..PoolSettings::default() });
    let endpoint = Endpoint { tls: Some(service.clone()), ..Endpoint::from(&instance) };
    let asked = async {
        let (head, body) = send(&pool, &endpoint, request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok(Response::from_parts(head, body.to_bytes()))
    };
    let answer = time::timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| bail!("there is no answer within 30 s"));
    let answer =
        answer.with_context(|| format!("{} of {service} at {} is not reached", instance.id, instance.address))?;
    print(&answer, &instance, query.output)?;
    let is_success = answer.status().is_success() || answer.status().is_redirection();
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// One that takes requests, if there is one.
fn pick(instances: Vec<Instance>) -> Option<Instance> {
    let (healthy, others): (Vec<_>, Vec<_>) = instances.into_iter().partition(|it| it.health == Health::Healthy);
    let mut some = if healthy.is_empty() { others } else { healthy };
    (!some.is_empty()).then(|| some.swap_remove(rand::below(some.len())))
}

/// A certificate of that workload, for as long as the guard is kept.
async fn identity(client: &Client, query: &Query, workload: Workload) -> anyhow::Result<(Identity, Guarded<()>)> {
    let system = api::answered(query, client.mesh_roots().await)?.system;
    let new = NewJoinToken { workload: workload.clone(), ttl: Some(JOIN_TTL), is_for_call: true };
    let token = api::answered(query, client.create_join_token(&new).await)?.token;
    let settings = bowline_identity::Settings {
        id: SpiffeId::new(system, workload),
        admission: Admission::Join { token, folder: None },
        metrics: metric::Registry::default(),
    };
    let (identity, rotation) = Identity::start(settings, Arc::new(RemoteIssuer::new(query.api.0)))?;
    match time::timeout(CERTIFICATE_MAX, identity.ready()).await {
        Ok(ready) => ready.context("the server gives no certificate")?,
        Err(_) => bail!("the server gives no certificate within 10 s"),
    }
    Ok((identity, rotation))
}

fn print(answer: &Response<Bytes>, instance: &Instance, output: Output) -> anyhow::Result<()> {
    let body = String::from_utf8_lossy(answer.body());
    match output {
        Output::Json => {
            let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers: Vec<(&str, String)> =
                answer.headers().iter().map(|(name, it)| (name.as_str(), value(it))).collect();
            let status = answer.status().as_u16();
            api::print_json(&serde_json::json!({
                "instance": instance.id, "status": status, "headers": headers, "body": body
            }))
        }
        Output::Text => {
            for line in head(answer.status(), answer.headers()) {
                style::line(&style::plain(&line));
            }
            style::line("");
            style::text(&body);
            // The prompt stands on a line of its own.
            if !body.is_empty() && !body.ends_with('\n') {
                style::line("");
            }
            Ok(())
        }
    }
}

/// The status and the headers, in lines.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<String> {
    let reason = status.canonical_reason().unwrap_or_default();
    let first = format!("{} {reason}", status.as_u16());
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    std::iter::once(first.trim_end().to_owned()).chain(headers.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_told_as_it_came() {
        let mut headers = HeaderMap::new();
        headers.insert("x-bowline-reason", "mesh_not_declared".parse().unwrap());
        assert_eq!(head(StatusCode::FORBIDDEN, &headers), ["403 Forbidden", "x-bowline-reason: mesh_not_declared"]);
        assert_eq!(head(StatusCode::from_u16(599).unwrap(), &HeaderMap::new()), ["599"]);
    }

    #[test]
    fn who_takes_requests_is_asked_first() {
        let instance = |id: &str, health| {
            let mut instance =
                Instance::new(id.parse().unwrap(), "order".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
            instance.health = health;
            instance
        };
        let all = vec![instance("order-1", Health::Draining), instance("order-2", Health::Healthy)];
        assert_eq!(pick(all).unwrap().id.as_str(), "order-2");
        assert_eq!(pick(vec![instance("order-1", Health::Unhealthy)]).unwrap().id.as_str(), "order-1");
        assert!(pick(Vec::new()).is_none());
    }
}
