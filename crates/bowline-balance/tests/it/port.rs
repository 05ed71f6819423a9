//! The mission document's port, as its users call it.

use std::collections::BTreeSet;

use bowline_balance::{Balanced, LoadBalancer, NoInstance};
use bowline_model::policy::{Balance, BalancePolicy, HashKey};

use crate::instances;

#[tokio::test]
async fn services_are_selected_and_updated() {
    let balancer = Balanced::new(&Balance::RoundRobin.into(), None, "caller");
    assert_eq!(balancer.select_service(b"").await, Err(NoInstance));
    balancer.update_services(instances(3)).await.unwrap();
    let mut selected = BTreeSet::new();
    for _ in 0..3 {
        selected.insert(balancer.select_service(b"").await.unwrap().id);
    }
    assert_eq!(selected.len(), 3);
    let by_key = BalancePolicy { key: Some(HashKey::Path), ..Balance::Maglev.into() };
    let balancer = Balanced::new(&by_key, None, "caller");
    balancer.update_services(instances(100)).await.unwrap();
    let first = balancer.select_service(b"/orders/7").await;
    assert_eq!(balancer.select_service(b"/orders/7").await, first);
}
