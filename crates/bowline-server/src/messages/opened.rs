//! Where a node's messages are kept: in its folder, or where it is told.

use std::{fmt, path::Path, sync::Arc};

use bowline_messaging::{Embedded, Error, MessageBus, Settings};
use bowline_runtime::metric;

/// The folder of the messages in the data folder.
const DIR: &str = "messages";

/// Where messages are kept.
#[derive(Clone, Default)]
pub enum Messages {
    /// In the data folder.
    #[default]
    Embedded,
    /// Elsewhere; who made it closes it.
    Elsewhere(Arc<dyn MessageBus>),
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "Embedded",
            Self::Elsewhere(_) => "Elsewhere",
        })
    }
}

/// The messages of a node that runs.
pub(crate) enum Opened {
    Embedded(Embedded),
    Elsewhere(Arc<dyn MessageBus>),
}

impl Messages {
    /// Opens what is to be opened.
    pub(crate) async fn open(self, data_dir: &Path, metrics: &metric::Registry) -> Result<Opened, Error> {
        Ok(match self {
            Self::Embedded => {
                Opened::Embedded(Embedded::open(Settings::new(data_dir.join(DIR), metrics.clone())).await?)
            }
            Self::Elsewhere(bus) => Opened::Elsewhere(bus),
        })
    }
}

impl Opened {
    pub(crate) fn bus(&self) -> Arc<dyn MessageBus> {
        match self {
            Self::Embedded(bus) => Arc::new(bus.clone()),
            Self::Elsewhere(bus) => bus.clone(),
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Embedded(bus) => bus.close().await,
            Self::Elsewhere(_) => {}
        }
    }
}
