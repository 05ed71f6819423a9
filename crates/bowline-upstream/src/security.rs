//! Which instances are called under TLS.

use bowline_model::{
    Instance, ServiceName,
    instance::{METADATA_MESH, METADATA_MESH_MTLS},
    mesh::Mode,
};
use bowline_transport::Endpoint;

/// Which instances of a service are called under TLS, and have to show its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// None.
    #[default]
    Plain,
    /// Those whose metadata says that they take it.
    Permissive,
    /// All, whatever the registry says.
    Strict,
}

impl Security {
    /// That of a mesh in this mode; none: there is no mesh.
    pub fn of(mode: Option<Mode>) -> Self {
        match mode {
            None => Self::Plain,
            Some(Mode::Permissive) => Self::Permissive,
            Some(Mode::Strict) => Self::Strict,
        }
    }

    /// Where and how an instance of that service is dialled.
    pub fn endpoint(self, service: &ServiceName, instance: &Instance) -> Endpoint {
        Endpoint { tls: self.demands(instance).then(|| service.clone()), ..Endpoint::from(instance) }
    }

    /// Whether that instance is called under TLS.
    pub(crate) fn demands(self, instance: &Instance) -> bool {
        match self {
            Self::Plain => false,
            Self::Permissive => instance.metadata.get(METADATA_MESH).is_some_and(|says| says == METADATA_MESH_MTLS),
            Self::Strict => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_says_who_is_called_under_tls() {
        let found = [None, Some(Mode::Permissive), Some(Mode::Strict)].map(Security::of);
        assert_eq!(found, [Security::Plain, Security::Permissive, Security::Strict]);
    }
}
