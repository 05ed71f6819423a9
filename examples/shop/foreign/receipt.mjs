// A service of the shop in plain Node.js, standard library only: a receipt with a gift.
//
// Node's client knows no HTTP_PROXY, so it uses the local port that the sidecar has for each declared call:
// BOWLINE_CALL_GIFT. GET /receipts/{user}.

import http from "node:http";

const listen = process.env.BOWLINE_LISTEN;
const gifts = process.env.BOWLINE_CALL_GIFT;

const server = http.createServer((request, response) => {
  const answer = (status, content) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(content));
  };
  if (request.url === "/readyz") return answer(200, { ready: true });
  if (!request.url.startsWith("/receipts/")) return answer(404, { detail: "nothing here" });
  // The trace goes on where the call says which one it belongs to.
  const traced = Object.entries(request.headers).filter(([name]) => ["traceparent", "tracestate"].includes(name));
  const url = `${gifts}/gifts/${request.url.slice("/receipts/".length)}`;
  const call = http.get(url, { headers: Object.fromEntries(traced), timeout: 5000 }, (gift) => {
    let body = "";
    gift.setEncoding("utf8").on("data", (part) => (body += part)).on("end", () => {
      answer(gift.statusCode, { receipt: true, gift: JSON.parse(body) });
    });
  });
  call.on("error", (error) => answer(502, { detail: error.message }));
});

const [host, port] = listen.split(":");
server.listen(host === "unix" ? { path: port } : { host, port: Number(port) }, () => {
  console.log(`receipt listens on ${listen}`);
});

process.on("SIGTERM", () => server.close(() => process.exit(0)));
