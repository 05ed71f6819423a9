//! Placing an order, as a saga: stock is reserved, the card is charged, the order is confirmed; or all of it is undone.

use std::sync::Arc;

use bowline::{
    Topic,
    runtime::BoxFuture,
    sql::{self, Definition, StepError, Tx},
};
use example_sql::Db;
use serde::{Deserialize, Serialize};

use crate::{
    callees::{Charged, Payments},
    order::{Item, Order, Status},
    repository::{Kept, SqlOrders},
};

/// The name of the saga.
pub(crate) const NAME: &str = "order";

/// That of orders that were kept before there was a stock: they may be charged already, and take nothing from it.
pub(crate) const BEFORE_STOCK: &str = "order-before-stock";

/// How long payment may be away before an order is given up.
const WITHIN: std::time::Duration = std::time::Duration::from_mins(5);

/// What is known of an order that is being placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placing {
    pub(crate) kept: Kept,
    /// Whether the bank said no.
    #[serde(default)]
    pub(crate) is_declined: bool,
}

/// Where it is told what became of orders.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) placed: Topic,
    pub(crate) paid: Topic,
    pub(crate) cancelled: Topic,
}

/// What is told of an order.
#[derive(Debug, Serialize)]
struct Told<'a> {
    order_id: &'a str,
    user_id: &'a str,
    total: i64,
    status: Status,
}

type Step<'a> = BoxFuture<'a, Result<(), StepError>>;

/// The steps.
///
/// That the bank declined is decided by `confirm`: its "no" is kept before everything is undone.
pub(crate) fn definition<DB: Db>(
    name: &str,
    orders: &SqlOrders<DB>,
    topics: &Topics,
    payment: &Arc<impl Payments + 'static>,
) -> Definition<DB, Placing> {
    let local = Arc::new(Local { orders: orders.clone(), topics: topics.clone() });
    let step = |work: Work<DB>| step(&local, work);
    let (charge, refund) = (payment.clone(), payment.clone());
    let placed = Definition::new(name).local("place", step(Local::place)).undo_local(step(Local::cancel));
    let reserved = match name {
        BEFORE_STOCK => placed,
        _ => placed.local("reserve-stock", step(Local::reserve)).undo_local(step(Local::release)),
    };
    reserved
        .remote("charge", move |_id, placing| -> Step<'_> {
            let payment = charge.clone();
            Box::pin(async move {
                placing.is_declined = payment.charge(&placing.kept).await? == Charged::Declined;
                Ok(())
            })
        })
        .within(WITHIN)
        .undo_remote(move |id, placing| -> Step<'_> {
            let (payment, is_declined) = (refund.clone(), placing.is_declined);
            Box::pin(async move {
                // Nothing was moved.
                if is_declined { Ok(()) } else { Ok(payment.refund(id).await?) }
            })
        })
        .local("confirm", step(Local::confirm))
}

/// A step in the database of orders.
type Work<DB> = for<'a> fn(Arc<Local<DB>>, &'a mut Tx<DB>, &'a mut Placing) -> Step<'a>;

fn step<DB: Db>(
    local: &Arc<Local<DB>>,
    work: Work<DB>,
) -> impl for<'a> Fn(&'a mut Tx<DB>, &'a mut Placing) -> Step<'a> + Send + Sync + 'static {
    let local = local.clone();
    move |tx, placing| work(local.clone(), tx, placing)
}

/// What happens in the database of orders.
#[derive(Debug)]
struct Local<DB: Db> {
    orders: SqlOrders<DB>,
    topics: Topics,
}

impl<DB: Db> Local<DB> {
    fn place<'a>(self: Arc<Self>, tx: &'a mut Tx<DB>, placing: &'a mut Placing) -> Step<'a> {
        Box::pin(async move { self.tell(tx, &self.topics.placed, &placing.kept.order, Status::Placed).await })
    }

    fn cancel<'a>(self: Arc<Self>, tx: &'a mut Tx<DB>, placing: &'a mut Placing) -> Step<'a> {
        Box::pin(async move {
            let status = if placing.is_declined { Status::Declined } else { Status::Cancelled };
            self.orders.mark(tx, &placing.kept.order.id, status).await?;
            self.tell(tx, &self.topics.cancelled, &placing.kept.order, status).await
        })
    }

    fn reserve<'a>(self: Arc<Self>, tx: &'a mut Tx<DB>, placing: &'a mut Placing) -> Step<'a> {
        Box::pin(async move {
            for (at, item) in in_turn(&placing.kept.order.items) {
                if !self.orders.take(tx, &item.sku, item.quantity).await? {
                    // What was taken before it is rolled back with the step.
                    return Err(StepError::abort(format!("items[{at}]: there is not enough of it")));
                }
            }
            Ok(())
        })
    }

    fn release<'a>(self: Arc<Self>, tx: &'a mut Tx<DB>, placing: &'a mut Placing) -> Step<'a> {
        Box::pin(async move {
            for (_, item) in in_turn(&placing.kept.order.items) {
                self.orders.put_back(tx, &item.sku, item.quantity).await?;
            }
            Ok(())
        })
    }

    fn confirm<'a>(self: Arc<Self>, tx: &'a mut Tx<DB>, placing: &'a mut Placing) -> Step<'a> {
        Box::pin(async move {
            if placing.is_declined {
                return Err(StepError::abort("the bank declined the card"));
            }
            self.orders.mark(tx, &placing.kept.order.id, Status::Paid).await?;
            self.tell(tx, &self.topics.paid, &placing.kept.order, Status::Paid).await
        })
    }

    /// Publishes what became of an order, in the transaction in which it does.
    async fn tell(&self, tx: &mut Tx<DB>, topic: &Topic, order: &Order, status: Status) -> Result<(), StepError> {
        let Order { id, user_id, total, .. } = order;
        let told = Told { order_id: id, user_id, total: *total, status };
        let message = topic.message(&told).key(id).into_message()?;
        sql::publish(tx, topic.name(), message).await?;
        Ok(())
    }
}

/// Items in the order in which everybody takes them, and where they stand: so nobody who has one waits for another who
/// waits for it.
fn in_turn(items: &[Item]) -> impl Iterator<Item = (usize, &Item)> {
    let mut items: Vec<_> = items.iter().enumerate().collect();
    items.sort_by_key(|(_, item)| &item.sku);
    items.into_iter()
}
