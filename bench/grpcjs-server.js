// grpcjs-server.js ADDRESS [NODE_MODULES]: the echo method of bench/rpc.sh on @grpc/grpc-js, as a
// user of that package would write it. Prints "listening" when it can be called.
const path = require('path');
const modules = process.argv[3] || process.env.STIGMER_PEERS || '/opt/peers/node_modules';
const grpc = require(path.join(modules, '@grpc/grpc-js'));
const loader = require(path.join(modules, '@grpc/proto-loader'));

const root = path.join(__dirname, '..', 'proto');
const file = loader.loadSync('stigmer/test/v1/echo.proto', { includeDirs: [root], keepCase: true });
const service = grpc.loadPackageDefinition(file).stigmer.test.v1.EchoService.service;
const server = new grpc.Server();
server.addService(service, {
  echo: (call, callback) => callback(null, { text: call.request.text }),
});
server.bindAsync(process.argv[2], grpc.ServerCredentials.createInsecure(), (err) => {
  if (err) throw err;
  console.log('listening');
});
