//! Makes the chains of a route table, and keeps what outlives it: keys, tokens found good, counts.

use std::{collections::BTreeMap, sync::Arc};

use bowline_model::{
    ServiceName,
    gateway::{AuthKind, AuthProvider, JwtAlgorithm, JwtKeys, JwtPolicy, LimitPolicy, RouteTable},
    route::Route,
};
use bowline_registry::Discovery;
use bowline_runtime::metric::Registry;
use bowline_transport::ClientTls;
use bowline_upstream::{Security, Standpoint};
use tokio::sync::watch;

use crate::{
    Error,
    auth::{ApiKeys, Authenticator, Jwks, Jwt, KeySetSettings, Keys, Secret, Source},
    chain::Chain,
    error::{Place, PolicyError},
    limit::{LocalLimit, RateLimiter},
    middleware::{Compress, Cors, Middleware, RequestEdits, RequestId, ResponseEdits},
};

/// The listener's limit, as clients and metrics see it; routes' are called as they are. No route has this
/// name, as `*` stands in no label.
const LISTENER: &str = "*";

/// What policies are made with.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) metrics: Registry,
    /// Who calls, and from where.
    pub(crate) standpoint: Standpoint,
    pub(crate) key_sets: KeySetSettings,
    /// How connections are made to who demands TLS.
    pub(crate) tls: Option<ClientTls>,
    /// Which instances do.
    pub(crate) security: watch::Sender<Security>,
}

/// What is kept from one route table to the next, where the next has the same of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    key_sets: Vec<(JwtKeys, Arc<Jwks>)>,
    auth: BTreeMap<ServiceName, (AuthProvider, Arc<dyn Authenticator>)>,
    limits: BTreeMap<String, (LimitPolicy, Arc<dyn RateLimiter>)>,
}

/// The chains of a route table.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    pub(crate) listener: Arc<Chain>,
    /// By the place of the route.
    pub(crate) routes: Vec<Arc<Chain>>,
}

impl Policies {
    /// Makes the chains of a table, of what is kept and of new parts; `self` stays as it is.
    ///
    /// # Errors
    /// [`Error::UnknownAuth`] and [`Error::Policy`], with the place that is at fault.
    pub(crate) fn renew(&self, table: &RouteTable, means: &Means) -> Result<(Self, Chains), Error> {
        let mut next = Self::default();
        for provider in &table.auth {
            let made = self.authenticator(provider, &mut next.key_sets, means);
            let place = || Place::Auth(provider.name.as_str().to_owned());
            let made = made.map_err(|source| Error::Policy { place: place(), source })?;
            next.auth.insert(provider.name.clone(), (provider.clone(), made));
        }
        let listener = Chain {
            auth: next.demanded(table.listener.auth.as_ref(), &Place::Listener)?,
            limit: self.limit(LISTENER, table.listener.limit.as_ref(), &mut next.limits, &Place::Listener, means)?,
            ..Chain::default()
        };
        let mut routes = Vec::with_capacity(table.routes.len());
        for route in &table.routes {
            let place = Place::Route(route.name.clone());
            let auth = next.demanded(route.auth.as_ref(), &place)?;
            let limit = self.limit(&route.name, route.limit.as_ref(), &mut next.limits, &place, means)?;
            let forget = listener.auth.iter().chain(&auth).cloned().collect();
            let middleware = middleware(route).map_err(|source| Error::Policy { place, source })?;
            routes.push(Arc::new(Chain { auth, limit, middleware, forget }));
        }
        Ok((next, Chains { listener: Arc::new(listener), routes }))
    }

    /// The way of that name to tell who calls.
    fn demanded(&self, name: Option<&ServiceName>, place: &Place) -> Result<Option<Arc<dyn Authenticator>>, Error> {
        let Some(name) = name else { return Ok(None) };
        let known = self.auth.get(name).map(|(_, auth)| Arc::clone(auth));
        let unknown = || Error::UnknownAuth { place: place.clone(), auth: name.as_str().to_owned() };
        known.ok_or_else(unknown).map(Some)
    }

    /// The authenticator of a provider: the one that is there, if the provider is as it was. Not where it
    /// has a shared secret, which is read anew with each table: it may be another, though it stands where it
    /// stood.
    fn authenticator(
        &self,
        provider: &AuthProvider,
        key_sets: &mut Vec<(JwtKeys, Arc<Jwks>)>,
        means: &Means,
    ) -> Result<Arc<dyn Authenticator>, PolicyError> {
        let keys = match &provider.kind {
            AuthKind::Jwt(policy) => Some(self.keys(policy, key_sets, means)?),
            AuthKind::ApiKey(_) => None,
        };
        if let Some((same, auth)) = self.auth.get(&provider.name)
            && same == provider
            && !matches!(keys, Some(Keys::Secret(_)))
        {
            return Ok(Arc::clone(auth));
        }
        Ok(match (&provider.kind, keys) {
            (AuthKind::Jwt(policy), Some(keys)) => Arc::new(Jwt::new(provider, policy, keys)),
            (AuthKind::ApiKey(policy), _) => Arc::new(ApiKeys::new(provider, policy)?),
            (AuthKind::Jwt(_), None) => return Err(PolicyError::Algorithms),
        })
    }

    /// What tokens are checked with: of key sets the one that is there, if it is of the same source.
    fn keys(
        &self,
        policy: &JwtPolicy,
        key_sets: &mut Vec<(JwtKeys, Arc<Jwks>)>,
        means: &Means,
    ) -> Result<Keys, PolicyError> {
        let is_secret = policy.algorithms == [JwtAlgorithm::Hs256];
        let fits = match &policy.keys {
            JwtKeys::Secret(_) => is_secret,
            _ => !policy.algorithms.is_empty() && !policy.algorithms.contains(&JwtAlgorithm::Hs256),
        };
        if !fits {
            return Err(PolicyError::Algorithms);
        }
        if let JwtKeys::Secret(source) = &policy.keys {
            return Ok(Keys::secret(&Secret::read(source)?));
        }
        let of_source = |(source, _): &&(JwtKeys, Arc<Jwks>)| *source == policy.keys;
        if let Some((_, jwks)) = key_sets.iter().find(of_source) {
            return Ok(Keys::Set(Arc::clone(jwks)));
        }
        let jwks = if let Some((_, jwks)) = self.key_sets.iter().find(of_source) {
            Arc::clone(jwks)
        } else {
            let source = Source::new(&policy.keys, means)?.ok_or(PolicyError::Algorithms)?;
            Arc::new(Jwks::new(source, means.key_sets, &means.metrics))
        };
        key_sets.push((policy.keys.clone(), Arc::clone(&jwks)));
        Ok(Keys::Set(jwks))
    }

    /// A limit: the one that is there, with its counts, if its policy is as it was.
    fn limit(
        &self,
        name: &str,
        policy: Option<&LimitPolicy>,
        limits: &mut BTreeMap<String, (LimitPolicy, Arc<dyn RateLimiter>)>,
        place: &Place,
        means: &Means,
    ) -> Result<Option<Arc<dyn RateLimiter>>, Error> {
        let Some(policy) = policy else { return Ok(None) };
        let limiter = match self.limits.get(name) {
            Some((same, limiter)) if same == policy => Arc::clone(limiter),
            _ => {
                let made = LocalLimit::new(name, policy, &means.metrics);
                Arc::new(made.map_err(|source| Error::Policy { place: place.clone(), source })?)
            }
        };
        limits.insert(name.to_owned(), (policy.clone(), Arc::clone(&limiter)));
        Ok(Some(limiter))
    }
}

/// What is done to a route's requests and answers, in the order of the route table.
fn middleware(route: &Route) -> Result<Vec<Box<dyn Middleware>>, PolicyError> {
    let policy = &route.middleware;
    let mut links: Vec<Box<dyn Middleware>> = Vec::new();
    if let Some(cors) = &policy.cors {
        links.push(Box::new(Cors::new(cors, route)?));
    }
    if policy.request_id {
        links.push(Box::new(RequestId));
    }
    if !policy.request_headers.is_empty() {
        links.push(Box::new(RequestEdits::new(&policy.request_headers)?));
    }
    if !policy.response_headers.is_empty() {
        links.push(Box::new(ResponseEdits::new(&policy.response_headers)?));
    }
    if policy.compress {
        links.push(Box::new(Compress));
    }
    Ok(links)
}
