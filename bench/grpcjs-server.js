// grpcjs-server.js ADDRESS AGENT_JSON: what bench/rpc.sh calls, on @grpc/grpc-js, as a user of that
// package would write it: an echo, and the API's get of the agent in that file, from a Map.
// Prints "listening" when it can be called.
const fs = require('fs');
const path = require('path');
const modules = process.env.STIGMER_PEERS;
const grpc = require(path.join(modules, '@grpc/grpc-js'));
const loader = require(path.join(modules, '@grpc/proto-loader'));

const root = path.join(__dirname, '..', 'proto');
const load = (file, service) => service.split('.').reduce((at, name) => at[name],
  grpc.loadPackageDefinition(loader.loadSync(file, { includeDirs: [root] }))).service;
const isTime = (v) => typeof v === 'string' && /^\d{4}-\d\d-\d\dT/.test(v);
const agent = JSON.parse(fs.readFileSync(process.argv[3]), // a Timestamp is an object there
  (key, v) => (isTime(v) ? { seconds: Math.floor(Date.parse(v) / 1000), nanos: Date.parse(v) % 1000 * 1e6 } : v));
const agents = new Map([[agent.metadata.id, agent]]);
const server = new grpc.Server();
server.addService(load('stigmer/test/v1/echo.proto', 'stigmer.test.v1.EchoService'), {
  echo: (call, callback) => callback(null, { text: call.request.text }),
});
server.addService(load('ai/stigmer/agentic/agent/v1/agent.proto', 'ai.stigmer.agentic.agent.v1.AgentQueryController'), {
  get: (call, callback) => {
    const found = agents.get(call.request.value);
    callback(found ? null : { code: grpc.status.NOT_FOUND }, found);
  },
});
server.bindAsync(process.argv[2], grpc.ServerCredentials.createInsecure(), (err) => {
  if (err) throw err;
  console.log('listening');
});
