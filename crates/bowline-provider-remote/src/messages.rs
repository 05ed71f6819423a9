//! The port of messages over a server's API.

mod asked;
mod subscription;

use std::{fmt, sync::Arc, time::Duration};

use bowline_messaging::{
    DeadLetter, Error, GroupSettings, Message, MessageBus, NewMessage, PAGE_MAX, Published, Start, Subscription,
    TAIL_WAIT_MAX, Tail, TopicInfo, TopicSettings, Which, check_credit, check_group, check_message, check_name,
    check_topic, delivery::Position,
};
use bowline_model::{Address, units};
use bowline_runtime::BoxFuture;
use bowline_transport::{ClientError, HttpClient, problem::Problem};
use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use self::subscription::Source;
use crate::{
    Bearer, Link,
    client::path,
    gather::Gather,
    wire::{
        AddressedMessage, DeadCount, DeadPage, DeadSelection, MessagePage, NewSubscription, PublishAnswer,
        PublishAnswers, PublishBatch, Seek, TopicDeclaration, TopicList, decode_message_error,
    },
};

/// How long an answer may take: a server's disk may be slow, and the clients of one wait together.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The messages of the server at an address. Cheap to clone; clones share their connections.
///
/// What is published at once goes in one request, and so does what is answered at once of a subscription; a lone one
/// does not wait. So messages whose publishing nobody waited for between may be kept in another order, those of one key
/// too. While the server is away, calls answer [`Error::Unavailable`]; [`Error::Io`] is answered when the
/// connection broke after something was sent, so that it may or may not have happened.
///
/// A subscription outlives its server: while that is away, [`Subscription::next`] joins again, after 100 ms at first
/// and 5 s at last, half of it up to chance. What was delivered before then is lost to this consumer: answers to it are
/// [`Error::LeaseLost`], and it is delivered again. What the server refuses for good, as when the group was removed,
/// ends the subscription.
#[derive(Clone)]
pub struct RemoteMessages {
    link: Link,
    publishing: Gather<AddressedMessage, Published>,
}

impl RemoteMessages {
    /// The messages of that server. Nothing is asked yet.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::over(HttpClient::new(address))
    }

    /// The messages of the server at the end of that link.
    pub fn over(link: impl Into<Link>) -> Self {
        let link = link.into().with_timeout(TIMEOUT);
        let sender = link.asked.clone();
        let publishing = Gather::new(move |messages| {
            let client = sender.clone();
            Box::pin(async move { publish(&client, messages).await })
        });
        Self { link, publishing }
    }

    /// The same, asked with a token.
    pub fn with_bearer(self, bearer: Bearer) -> Self {
        Self::over(self.link.with_bearer(bearer))
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.link.asked.send_json(method, path, body).await.map_err(failure)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.link.asked.get_json(path).await.map_err(failure)
    }

    async fn read_all(&self, topic: &str, mut from: Position, limit: usize) -> Result<Vec<Arc<Message>>, Error> {
        let mut messages = Vec::new();
        while messages.len() < limit {
            let pairs = [("from", from.to_string()), ("limit", (limit - messages.len()).to_string())];
            let page: MessagePage = self.get(&path(&format!("/v1/topics/{topic}/messages"), pairs)).await?;
            let Some(last) = page.messages.last() else { break };
            from = last.position.saturating_add(1);
            messages.extend(page.messages.into_iter().map(|message| Arc::new(Message::from(message))));
            if !page.more {
                break;
            }
        }
        Ok(messages)
    }

    async fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> Result<Tail, Error> {
        let pairs = [
            ("from", from.to_string()),
            ("limit", limit.clamp(1, PAGE_MAX).to_string()),
            ("wait", units::format_duration(wait)),
        ];
        let target = path(&format!("/v1/topics/{topic}/messages"), pairs);
        let page: MessagePage =
            self.link.watched.clone().with_timeout(TIMEOUT + wait).get_json(&target).await.map_err(failure)?;
        let ends = page.ends.ok_or_else(|| Error::Io(Arc::new(NoEnds)))?;
        let messages = page.messages.into_iter().map(|message| Arc::new(Message::from(message))).collect();
        Ok(Tail { first: ends.first, next: ends.next, before: ends.before, messages })
    }

    async fn all_dead(&self, topic: &str, mut after: Position, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::new();
        while letters.len() < limit {
            let pairs = [("after", after.to_string()), ("limit", (limit - letters.len()).to_string())];
            let page: DeadPage = self.get(&path(&format!("/v1/topics/{topic}/dead"), pairs)).await?;
            let Some(last) = page.letters.last() else { break };
            after = last.position;
            letters.extend(page.letters.into_iter().map(DeadLetter::from));
            if !page.more {
                break;
            }
        }
        Ok(letters)
    }

    async fn select_dead(&self, topic: &str, what: &str, which: Which) -> Result<usize, Error> {
        let which = DeadSelection { which: which.into() };
        let path = format!("/v1/topics/{topic}/dead/{what}");
        self.send::<DeadCount>(Method::POST, &path, &which).await.map(|counted| counted.count)
    }
}

/// A server that knows nothing of waiting.
#[derive(Debug, thiserror::Error)]
#[error("the server does not say where the topic begins and ends: it is of an earlier release")]
struct NoEnds;

/// Publishes many, and answers each.
async fn publish(client: &HttpClient, messages: Vec<AddressedMessage>) -> Result<Vec<Result<Published, Error>>, Error> {
    let batch = PublishBatch { messages };
    let answers: PublishAnswers = client.post_json("/v1/messages", &batch).await.map_err(failure)?;
    let result = |answer| match answer {
        PublishAnswer::Kept(kept) => Ok(kept.into()),
        PublishAnswer::Failed(fault) => Err(ended(fault.into_error())),
    };
    Ok(answers.answers.into_iter().map(result).collect())
}

/// The names in a path, which make one only if they are names.
fn check_path(topic: &str, group: Option<&str>) -> Result<(), Error> {
    check_name("topic", topic)?;
    group.map_or(Ok(()), |group| check_name("group", group))
}

/// A failure in the port's words.
fn failure(error: ClientError) -> Error {
    match error {
        ClientError::Answer { problem, .. } => told(*problem),
        ClientError::Transport { ref source, .. } if source.is_unprocessed() => {
            tracing::debug!(error = bowline_model::error::chain(&error), "the server of messages is away");
            Error::Unavailable { retry_after: None }
        }
        other => Error::Io(Arc::new(other)),
    }
}

/// The error that a problem document tells.
fn told(problem: Problem) -> Error {
    let Problem { code, detail, mut extra, .. } = problem;
    ended(decode_message_error(code, detail, &mut extra))
}

/// A server that ends comes back: what it answers then is no end.
fn ended(error: Error) -> Error {
    match error {
        Error::Closed => Error::Unavailable { retry_after: None },
        error => error,
    }
}

/// At most as many bytes as a message has in a request: in JSON, a character of a text may take six.
fn weight(topic: &str, message: &NewMessage) -> usize {
    let NewMessage { id, key, headers, payload, .. } = message;
    let texts = [Some(topic), id.as_deref(), key.as_deref()].into_iter().flatten().map(str::len).sum::<usize>();
    let headers = headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
    payload.len() / 3 * 4 + (texts + headers) * 6 + 256
}

impl MessageBus for RemoteMessages {
    fn declare(&self, topic: &str, settings: TopicSettings) -> BoxFuture<'_, Result<(), Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            check_topic(&settings)?;
            let declaration = TopicDeclaration::from(settings);
            self.send(Method::PUT, &format!("/v1/topics/{topic}"), &declaration).await
        })
    }

    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>> {
        let checked = check_path(topic, None).and_then(|()| check_message(&message));
        let bytes = weight(topic, &message);
        let message = AddressedMessage { topic: topic.to_owned(), message: message.into() };
        Box::pin(async move {
            checked?;
            self.publishing.ask(message, bytes).await
        })
    }

    fn subscribe(
        &self,
        topic: &str,
        group: &str,
        settings: GroupSettings,
        credit: usize,
    ) -> BoxFuture<'_, Result<Subscription, Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            check_path(&topic, Some(&group))?;
            check_group(&settings)?;
            check_credit(credit)?;
            let path = format!("/v1/topics/{topic}/groups/{group}/subscribe");
            let source = Source::join(&self.link, path, NewSubscription::of(&settings, credit)).await?;
            Ok(Subscription::new(source))
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>> {
        Box::pin(async move {
            let list: TopicList = self.get("/v1/topics").await?;
            Ok(list.topics.into_iter().map(TopicInfo::from).collect())
        })
    }

    fn read(&self, topic: &str, from: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            self.read_all(&topic, from, limit.min(PAGE_MAX)).await
        })
    }

    fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> BoxFuture<'_, Result<Tail, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            self.tail(&topic, from, limit, wait.min(TAIL_WAIT_MAX)).await
        })
    }

    fn seek(&self, topic: &str, group: &str, to: Start) -> BoxFuture<'_, Result<(), Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            check_path(&topic, Some(&group))?;
            let path = format!("/v1/topics/{topic}/groups/{group}/seek");
            self.send(Method::POST, &path, &Seek { to: to.into() }).await
        })
    }

    fn remove_group(&self, topic: &str, group: &str) -> BoxFuture<'_, Result<(), Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            check_path(&topic, Some(&group))?;
            self.send(Method::DELETE, &format!("/v1/topics/{topic}/groups/{group}"), &()).await
        })
    }

    fn dead(&self, topic: &str, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            self.all_dead(&topic, after, limit.min(PAGE_MAX)).await
        })
    }

    fn redrive(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            self.select_dead(&topic, "redrive", which).await
        })
    }

    fn purge(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_path(&topic, None)?;
            self.select_dead(&topic, "purge", which).await
        })
    }
}

impl fmt::Debug for RemoteMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteMessages").field("address", self.link.asked.address()).finish_non_exhaustive()
    }
}
