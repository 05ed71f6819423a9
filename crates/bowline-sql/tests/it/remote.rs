//! A service elsewhere, in memory: it does once what it is asked for, by the saga's id, and never what was undone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bowline_runtime::{rand, task};
use bowline_sql::StepError;

/// What it knows of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    Made,
    Refunded,
}

/// The service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remote(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    charges: BTreeMap<String, Charge>,
    answers: Answers,
    calls: Vec<String>,
}

/// How it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Answers {
    #[default]
    Well,
    /// It says no.
    No,
    /// It does what it is asked for, and the answer is lost.
    Lost,
    /// It does nothing.
    Fails,
    /// It does not even answer.
    Never,
    /// It does what it is asked for, and does not answer.
    Hangs,
    /// It panics.
    Panics,
    /// Any of the first four that an honest service has.
    AnyHow,
}

impl Remote {
    pub(crate) fn answer(&self, answers: Answers) {
        self.0.lock().unwrap().answers = answers;
    }

    pub(crate) fn charge_of(&self, id: &str) -> Option<Charge> {
        self.0.lock().unwrap().charges.get(id).copied()
    }

    /// Every call, in order: `charge`, `refund`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    pub(crate) async fn charge(&self, id: &str) -> Result<(), StepError> {
        self.called("charge", id, |charges| {
            if *charges.entry(id.to_owned()).or_insert(Charge::Made) == Charge::Refunded {
                return Err(StepError::abort("it was refunded"));
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn refund(&self, id: &str) -> Result<(), StepError> {
        self.called("refund", id, |charges| {
            charges.insert(id.to_owned(), Charge::Refunded);
            Ok(())
        })
        .await
    }

    async fn called(
        &self,
        what: &str,
        id: &str,
        act: impl FnOnce(&mut BTreeMap<String, Charge>) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        task::yield_now().await;
        let mut answers = self.0.lock().unwrap().answers;
        if answers == Answers::AnyHow {
            // An honest service says no for good: whom it charged it does not refuse.
            let is_known = self.charge_of(id).is_some();
            let any = [Answers::Well, Answers::Well, Answers::Lost, Answers::Fails, Answers::No];
            answers = any[rand::below(any.len() - usize::from(is_known || what == "refund"))];
        }
        self.0.lock().unwrap().calls.push(what.to_owned());
        match answers {
            Answers::Well | Answers::AnyHow => act(&mut self.0.lock().unwrap().charges),
            Answers::No => Err(StepError::abort("no money")),
            Answers::Lost => {
                act(&mut self.0.lock().unwrap().charges)?;
                task::yield_now().await;
                Err(StepError::retry("the answer is lost"))
            }
            Answers::Fails => Err(StepError::retry("out of order")),
            Answers::Never => std::future::pending().await,
            Answers::Hangs => {
                act(&mut self.0.lock().unwrap().charges)?;
                std::future::pending().await
            }
            Answers::Panics => panic!("on purpose"),
        }
    }
}
