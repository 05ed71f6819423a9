//! The behaviours that every path to an upstream must show, by way of the proxy with two workers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use bowline_model::{
    Instance, ServiceName,
    mesh::Steering,
    policy::CallPolicy,
    route::{Backend, Route},
};
use bowline_upstream::vectors::{Ask, Path, SERVICE, Seen, Vector, all, run};

use crate::support::{BOUND, Proxy, route};

impl Path for Proxy {
    fn call(&self, _number: usize, ask: &Ask) -> Seen {
        let mut request = format!("{} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n", ask.method);
        if ask.has_key {
            request += "idempotency-key: k\r\n";
        }
        request.extend(ask.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        let length = ask.body.len();
        let rest = match (ask.is_streamed, length) {
            (true, _) => format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n", ask.body),
            (false, 0) => "\r\n".to_owned(),
            (false, _) => format!("content-length: {length}\r\n\r\n{}", ask.body),
        };
        request.push_str(&rest);
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let reason = answer.lines().find_map(|line| line.strip_prefix("x-bowline-reason: ")).map(str::to_owned);
        Seen { status: status.unwrap_or_else(|| panic!("no status in {answer:?}")), reason }
    }

    fn steer(&self, steering: &Steering) -> bool {
        self.upstreams.values().for_each(|upstream| upstream.set_steering(steering.clone()));
        true
    }

    fn breakers(&self) -> BTreeMap<String, String> {
        let instances = self.upstreams.values().flat_map(|upstream| upstream.instances());
        let state = |state: String| state.to_lowercase().replace("halfopen", "half_open");
        instances.filter_map(|i| Some((i.instance.id.to_string(), state(format!("{:?}", i.breaker?))))).collect()
    }
}

fn proxy(policy: &CallPolicy, instances: &[Instance]) -> Proxy {
    let backends = vec![Backend { service: ServiceName::new(SERVICE).unwrap(), weight: 1 }];
    let route = Route { policy: policy.clone(), backends, ..route(SERVICE, "/**") };
    Proxy::start(&[route], instances)
}

#[test]
fn every_vector_holds() {
    // How long an outsider waits is not ours to know: its header is taken away.
    let is_ours = |vector: &&Vector| vector.steps.iter().all(|step| step.ask.deadline.is_none());
    let vectors = all();
    let (ours, others): (Vec<_>, Vec<_>) = vectors.iter().partition(is_ours);
    assert!(others.len() <= 2 && ours.len() >= 20, "{} of {} are left out", others.len(), vectors.len());
    let failed: Vec<String> =
        ours.into_iter().filter_map(|vector| Some(format!("{}: {}", vector.name, run(vector, proxy).err()?))).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
