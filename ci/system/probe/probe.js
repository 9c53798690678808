// The same probe as probe.py, through the official JavaScript SDK: one JSON request a line on `probe.sock`.
'use strict';
const fs = require('fs');
const net = require('net');
const readline = require('readline');
const { greengrasscoreipc } = require('aws-iot-device-sdk-v2');

const camel = (name) => name.replace(/_([a-z])/g, (_, c) => c.toUpperCase()).replace('Iot', 'IoT');

// The class of a modelled error, as its model names it.
function errorName(error) {
  const service = error.serviceError || {};
  if (service._errorCode) return service._errorCode;
  return error.constructor.name;
}

async function answer(client, request, send, streams) {
  if ('close' in request) {
    await streams.get(request.close).close();
    return send({ id: request.id, response: {} });
  }
  const name = camel(request.call || request.stream);
  try {
    if (request.call) {
      return send({ id: request.id, response: decode(await client[name](encode(request.request || {}))) });
    }
    const operation = client[name](encode(request.request || {}));
    operation.on('message', (event) => send({ stream: request.id, event: decode(event) }));
    operation.on('streamError', (error) => send({ stream: request.id, error: errorName(error) }));
    operation.on('ended', () => send({ stream: request.id, closed: true }));
    streams.set(request.id, operation);
    send({ id: request.id, response: decode((await operation.activate()) || {}) });
  } catch (error) {
    const service = error.serviceError || {};
    send({ id: request.id, error: errorName(error), message: service.message || String(error.stack || error) });
  }
}

// Binary members are base64 on the probe's own wire, and Buffers in the SDK.
function decode(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(decode);
  if (value instanceof Map) return decode(Object.fromEntries(value));
  if (value && typeof value === 'object' && !(value instanceof Date)) {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, decode(v)]));
  }
  return value;
}

function encode(request) {
  const binary = request.publishMessage && request.publishMessage.binaryMessage;
  if (binary) binary.message = Buffer.from(binary.message, 'base64');
  if (request.payload) request.payload = Buffer.from(request.payload, 'base64');
  if (request.timestamp) request.timestamp = new Date(request.timestamp * 1000);
  for (const member of ['rootComponentVersionsToAdd', 'componentToConfiguration', 'componentToRunWithInfo']) {
    if (request[member]) request[member] = new Map(Object.entries(request[member]));
  }
  return request;
}

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
