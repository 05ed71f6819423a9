//! What governs the calls to a service: the application's word, what is declared, and the mesh.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bowline_model::{
    error::chain,
    mesh::{Mode, Snapshot, Steering},
    policy::{CallPolicy, InvalidPolicy},
};
use bowline_upstream::{Security, Upstream};

use super::policies::{Own, Policies};

/// An upstream, and what governs it.
#[derive(Debug)]
pub(super) struct Governed {
    upstream: Arc<Upstream>,
    /// Held while the policy is changed.
    policies: Mutex<Policies>,
    /// Whether nobody is called without a certificate.
    demands_identity: AtomicBool,
}

impl Governed {
    /// In a mesh, nobody is called in the clear before the mesh says so.
    pub(super) fn new(upstream: Arc<Upstream>, declared: CallPolicy, is_meshed: bool) -> Self {
        if is_meshed {
            upstream.set_security(Security::Strict);
        }
        let policies = Mutex::new(Policies::new(declared));
        Self { upstream, policies, demands_identity: AtomicBool::new(is_meshed) }
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) fn demands_identity(&self) -> bool {
        self.demands_identity.load(Relaxed)
    }

    /// Checks what the application is about to set.
    pub(super) fn check_own(&self, own: &Own) -> Result<(), InvalidPolicy> {
        self.policies().with_own(own).check()
    }

    /// Takes what the application sets; nothing is changed where it makes no sense.
    pub(super) fn set_own(&self, own: Own) -> Result<(), InvalidPolicy> {
        let mut policies = self.policies();
        let policy = policies.with_own(&own);
        policy.check()?;
        policies.set_own(own);
        self.upstream.set_policy(policy);
        Ok(())
    }

    /// Acts by a snapshot. What it says of the policy is what is declared; where that makes no sense beside
    /// what the application set, what was declared before stays.
    pub(super) fn take(&self, snapshot: &Snapshot) {
        self.upstream.set_security(Security::of(snapshot.mode));
        self.demands_identity.store(snapshot.mode == Some(Mode::Strict), Relaxed);
        let service = self.upstream.service();
        let Some(outbound) = snapshot.outbound.iter().find(|outbound| outbound.target == *service) else {
            tracing::debug!(%service, "the mesh knows of no call to it");
            self.upstream.set_steering(Steering::default());
            return;
        };
        self.upstream.set_steering(outbound.steering.clone());
        if let Err(error) = self.set_declared(outbound.policy.clone()) {
            let error = chain(&error);
            tracing::warn!(%service, error, "the mesh's policy contradicts the application's own, the last one stays");
        }
    }

    /// Shares calls out between versions and obeys orders to breakers as a snapshot says, and does nothing else by it:
    /// outside a mesh the rest is the environment's to say.
    pub(super) fn steer(&self, snapshot: &Snapshot) {
        let service = self.upstream.service();
        let call = snapshot.outbound.iter().find(|outbound| outbound.target == *service);
        self.upstream.set_steering(call.map_or_else(Steering::default, |call| call.steering.clone()));
    }

    fn set_declared(&self, declared: CallPolicy) -> Result<(), InvalidPolicy> {
        let mut policies = self.policies();
        let policy = policies.with_declared(&declared);
        policy.check()?;
        policies.set_declared(declared);
        // It changes nothing where it is the same.
        self.upstream.set_policy(policy);
        Ok(())
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
