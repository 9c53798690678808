// The same probe as probe.py, through the official JavaScript SDK: one JSON request a line on `probe.sock`.
'use strict';
const fs = require('fs');
const net = require('net');
const readline = require('readline');
const { greengrasscoreipc } = require('aws-iot-device-sdk-v2');

const camel = (name) => name.replace(/_([a-z])/g, (_, c) => c.toUpperCase());

// The class of a modelled error, as its model names it.
function errorName(error) {
  const service = error.serviceError || {};
  if (service._errorCode) return service._errorCode;
  return error.constructor.name;
}

async function answer(client, request, send, streams) {
  const name = camel(request.call || request.stream);
  if ('close' in request) {
    await streams.get(request.close).close();
    return send({ id: request.id, response: {} });
  }
  try {
    if (request.call) {
      return send({ id: request.id, response: await client[name](request.request || {}) });
    }
    const operation = client[name](request.request || {});
    operation.on('message', (event) => send({ stream: request.id, event: decode(event) }));
    operation.on('streamError', (error) => send({ stream: request.id, error: errorName(error) }));
    operation.on('ended', () => send({ stream: request.id, closed: true }));
    streams.set(request.id, operation);
    send({ id: request.id, response: (await operation.activate()) || {} });
  } catch (error) {
    const service = error.serviceError || {};
    send({ id: request.id, error: errorName(error), message: service.message || String(error) });
  }
}

// Binary members arrive as ArrayBuffers.
const decode = (value) =>
  JSON.parse(JSON.stringify(value, (_, v) => (v instanceof ArrayBuffer || ArrayBuffer.isView(v) ? Buffer.from(v).toString('base64') : v)));

async function main() {
  const client = greengrasscoreipc.createClient();
  await client.connect();
  if (fs.existsSync('probe.sock')) fs.unlinkSync('probe.sock');
  net
    .createServer((socket) => {
      const streams = new Map();
      const send = (reply) => socket.write(JSON.stringify(reply) + '\n');
      readline.createInterface({ input: socket }).on('line', (line) => answer(client, JSON.parse(line), send, streams));
    })
    .listen('probe.sock', () => console.log('probe ready'));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
