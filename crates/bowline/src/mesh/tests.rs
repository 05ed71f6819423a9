//! Whose snapshot is acted by, and what it means.

use bowline_model::{
    ServiceName,
    mesh::{Authorization, Mode},
};

use super::*;

fn id(system: &str, service: &str) -> SpiffeId {
    let name = |text| ServiceName::new(text).unwrap();
    SpiffeId::new(name(system), Workload::Service(name(service)))
}

#[test]
fn only_ones_own_snapshot_is_acted_by() {
    let SpiffeId { system, workload } = id("shop", "order");
    let (authorization, inbound, outbound, faults) = (Authorization::default(), vec![], vec![], vec![]);
    let mode = Some(Mode::Strict);
    let own = Snapshot { format: SNAPSHOT_FORMAT, system, workload, mode, authorization, inbound, outbound, faults };
    assert_eq!(check(&own, &id("shop", "order")), Ok(()));
    let error = check(&own, &id("shop", "user")).unwrap_err();
    assert_eq!(error, "it is spiffe://shop/service/order's, and this is spiffe://shop/service/user");
    assert!(check(&own, &id("other", "order")).is_err());
    assert!(check(&Snapshot { format: 2, ..own }, &id("shop", "order")).unwrap_err().contains("format is 2"));
}
