// panva oidc-provider on loopback: an authorization server, and below /api a resource that it protects.
// Prints READY and its issuer. Ends on SIGTERM, and when its standard input does, so that it outlives no test run.
// env: AT_TTL     life of an access token in seconds (60)
//      ROTATE     0: a refresh token may be used again (1)
//      NONCE      1: DPoP proofs need a nonce, from each of both servers its own (0)
//      CERTIFICATES  directory with server.pem, ca.pem: serve TLS, and clients that authenticate by certificate
//      JWKS       public keys, as a JWK set, of the client cc-jwt and of assertions
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import querystring from 'node:querystring';

import { calculateJwkThumbprint, createLocalJWKSet, EmbeddedJWK, jwtVerify } from 'jose';

console.info = console.error; // nobody reads standard output after READY
URL.parse ??= (...of) => { try { return new URL(...of); } catch { return null; } }; // Node 20 has none; DPoP needs it
const { Provider, errors } = await import('oidc-provider');
const { env } = process;
const certificates = env.CERTIFICATES;
const jwks = JSON.parse(env.JWKS || '{"keys": []}');
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ASSERTION = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const ALGORITHMS = ['ES256', 'RS256', 'PS256', 'EdDSA', 'Ed25519'];

const initially = {
  ttl: Number(env.AT_TTL || 60), rotate: env.ROTATE !== '0', nonce: env.NONCE === '1', delay: 0, failures: [],
};
const settings = { ...initially };
const nothing = () => ({ token: 0, by_grant: {}, refused: 0, api: 0, api_401: 0 });
let counts = nothing();
let resourceNonce = randomBytes(16).toString('base64url');
const proofsSeen = new Set();

// The provider's own memory forgets old records beyond one or two thousand, and stress tests make more.
const records = new Map();
class Memory {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { records.set(this.key(id), payload); }
  async find(id) { return records.get(this.key(id)); }
  async findByUid(uid) { return this.first((record) => record.uid === uid); }
  async findByUserCode(code) { return this.first((record) => record.userCode === code); }
  async consume(id) { records.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { records.delete(this.key(id)); }
  async revokeByGrantId(grant) { for (const [key, { grantId }] of records) if (grantId === grant) records.delete(key); }
  first(wanted) {
    for (const [key, record] of records) if (key.startsWith(`${this.model}:`) && wanted(record)) return record;
    return undefined;
  }
}

function pem(ctx) {
  const raw = ctx.socket.getPeerCertificate?.(true)?.raw?.toString('base64');
  return raw && `-----BEGIN CERTIFICATE-----\n${raw.match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----`;
}
const mTLS = {
  enabled: true, certificateBoundAccessTokens: true, tlsClientAuth: true, getCertificate: pem,
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_dns'
    && (ctx.socket.getPeerCertificate().subjectaltname || '').split(', ').includes(`DNS:${expected}`),
};

// A native client may come back to any port of the loopback interface (RFC 8252, 7.3).
const redirect_uris = ['http://127.0.0.1/cb', 'http://[::1]/cb', 'http://localhost/cb', 'http://127.0.0.1:9/cb'];
const code = { grant_types: ['authorization_code', 'refresh_token'], redirect_uris: ['http://127.0.0.1:9/cb'] };
const machine = (...grant_types) => ({ grant_types, redirect_uris: [], response_types: [] });
const basic = (name) => ({ client_id: name, client_secret: `${name}-secret`, token_endpoint_auth_method: 'client_secret_basic' });
const open = { application_type: 'native', token_endpoint_auth_method: 'none' };
const clients = [
  { ...basic('cc'), ...machine('client_credentials') },
  { ...basic('cc-post'), ...machine('client_credentials'), token_endpoint_auth_method: 'client_secret_post' },
  { client_id: 'cc-jwt', ...machine('client_credentials'), token_endpoint_auth_method: 'private_key_jwt', jwks },
  // What RFC 6749, 2.3.1 is about: both must be form-encoded before they are joined by a colon.
  { ...basic('cc:odd/1'), ...machine('client_credentials'), client_secret: 'a:b c%2B+/=&?~' },
  { ...basic('dpop'), ...machine('client_credentials'), dpop_bound_access_tokens: true },
  { ...basic('web'), ...code },
  { client_id: 'pub', ...open, ...code, redirect_uris, grant_types: [...code.grant_types, DEVICE] },
  { ...basic('exchange'), ...machine(EXCHANGE) },
  { ...basic('assertion'), ...machine(ASSERTION) },
  { client_id: 'assertion-open', ...machine(ASSERTION), ...open },
];
if (certificates) {
  clients.push({
    client_id: 'mtls', ...code, grant_types: [...code.grant_types, 'client_credentials'],
    token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_dns: 'client.test',
    tls_client_certificate_bound_access_tokens: true,
  });
}

const read = (name) => fs.readFileSync(`${certificates}/${name}.pem`);
const server = certificates
  ? https.createServer({ key: read('server'), cert: read('server'), ca: read('ca'), requestCert: true, rejectUnauthorized: false })
  : http.createServer();
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1');
await new Promise((resolve) => { server.once('listening', resolve); });
const issuer = `http${certificates ? 's' : ''}://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  adapter: Memory,
  clients,
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt', ...(certificates ? ['tls_client_auth'] : [])],
  cookies: { keys: [randomBytes(16).toString('hex')] },
  features: {
    clientCredentials: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true },
    deviceFlow: { enabled: true }, devInteractions: { enabled: true }, resourceIndicators: { enabled: false },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => settings.nonce },
    ...(certificates ? { mTLS } : {}),
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: () => true },
  rotateRefreshToken: () => settings.rotate,
  scopes: ['openid', 'offline_access', 'api:read', 'api:write'],
  ttl: {
    AccessToken: () => settings.ttl, ClientCredentials: () => settings.ttl, DeviceCode: 600, Grant: 86400, IdToken: 600,
    Interaction: 600, RefreshToken: 86400, Session: 86400,
  },
});

const find = async (value) => (await provider.AccessToken.find(value)) ?? provider.ClientCredentials.find(value);

// ------------------------------------------------------------------------------------------- further grants

const subjects = new Map(); // whom a token speaks for that belongs to a client
const subjectOf = (token) => token.accountId ?? subjects.get(token.jti) ?? token.clientId;

async function answer(ctx, subject, scope, more = {}) {
  const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope });
  const access_token = await token.save();
  subjects.set(token.jti, subject);
  ctx.body = { access_token, token_type: 'Bearer', expires_in: token.expiration, scope, ...more };
}

// RFC 8693, for access tokens of this server.
provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { subject_token, subject_token_type, actor_token, actor_token_type, scope } = ctx.oidc.params;
  if (!subject_token || subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('an access token is needed as subject_token');
  if (Boolean(actor_token) !== Boolean(actor_token_type)) throw new errors.InvalidRequest('actor_token and actor_token_type belong together');
  const subject = await find(subject_token);
  if (!subject) throw new errors.InvalidRequest('the subject token is not valid');
  if (actor_token && !await find(actor_token)) throw new errors.InvalidRequest('the actor token is not valid');
  if (scope && !scope.split(' ').every((one) => subject.scopes.has(one))) throw new errors.InvalidScope('more than the subject token allows', scope);
  await answer(ctx, subjectOf(subject), scope ?? subject.scope, { issued_token_type: ACCESS_TOKEN });
}, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource']);

// RFC 7523, 2.1.
provider.registerGrantType(ASSERTION, async (ctx) => {
  const { assertion, scope } = ctx.oidc.params;
  if (!assertion) throw new errors.InvalidRequest('assertion is missing');
  let claims;
  try {
    const audience = [issuer, `${issuer}/token`];
    ({ payload: claims } = await jwtVerify(assertion, createLocalJWKSet(jwks), { audience, requiredClaims: ['iss', 'sub', 'exp'] }));
  } catch (cause) {
    throw new errors.InvalidGrant(`assertion refused: ${cause.code}`);
  }
  await answer(ctx, claims.sub, scope ?? claims.scope);
}, ['assertion', 'scope']);

// ------------------------------------------------------------------------------- what is wrapped around /token

async function body(ctx) {
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

provider.use(async (ctx, next) => {
  if (ctx.path !== '/token' || ctx.method !== 'POST') return next();
  counts.token += 1;
  const form = querystring.parse(await body(ctx));
  counts.by_grant[form.grant_type] = (counts.by_grant[form.grant_type] ?? 0) + 1;
  const anonymous = !form.client_id && !form.client_assertion && !ctx.get('authorization');
  if (form.grant_type === ASSERTION && anonymous) form.client_id = 'assertion-open'; // for whom the assertion is enough
  ctx.req.body = querystring.stringify(form);
  const failure = settings.failures.shift();
  const { delay } = settings;
  if (!failure || failure.processed) await next();
  if (failure) {
    ctx.status = failure.status;
    ctx.set(failure.headers ?? {});
    ctx.body = failure.body ?? { error: 'temporarily_unavailable' };
  }
  if (ctx.status >= 400) counts.refused += 1;
  if (delay) await Promise.race([new Promise((resolve) => { setTimeout(resolve, 1000 * delay); }), held.released]);
  return undefined;
});

// -------------------------------------------------------------------------------------- the protected resource

class Refused extends Error {
  constructor(scheme, error, description) { super(description); Object.assign(this, { scheme, error }); }
}

async function checkProof(ctx, value, token) {
  const refuse = (why) => { throw new Refused('DPoP', 'invalid_dpop_proof', why); };
  let payload; let protectedHeader;
  try {
    ({ payload, protectedHeader } = await jwtVerify(ctx.get('dpop'), EmbeddedJWK, { algorithms: ALGORITHMS, typ: 'dpop+jwt' }));
  } catch (cause) {
    refuse(`proof cannot be verified: ${cause.code}`);
  }
  if (payload.htm !== ctx.method) refuse('htm is another method');
  if (payload.htu !== issuer + ctx.path) refuse('htu is another URL');
  if (payload.ath !== createHash('sha256').update(value).digest('base64url')) refuse('ath is of another token');
  if (!payload.jti || proofsSeen.has(payload.jti)) refuse('jti was seen before');
  if (!payload.iat || Math.abs(Date.now() / 1000 - payload.iat) > 60) refuse('iat is not recent');
  if (await calculateJwkThumbprint(protectedHeader.jwk) !== token.jkt) throw new Refused('DPoP', 'invalid_token', 'bound to another key');
  proofsSeen.add(payload.jti);
  if (settings.nonce && payload.nonce !== resourceNonce) throw new Refused('DPoP', 'use_dpop_nonce', 'a nonce of this server is needed');
}

async function authorize(ctx) {
  const [, scheme, value] = /^(Bearer|DPoP) ([\w.~+/=-]+)$/i.exec(ctx.get('authorization')) ?? [];
  if (!value) throw new Refused('Bearer');
  const bound = scheme.toLowerCase() === 'dpop';
  const token = await find(value);
  if (!token) throw new Refused(bound ? 'DPoP' : 'Bearer', 'invalid_token', 'unknown, expired or revoked');
  if (Boolean(token.jkt) !== bound) throw new Refused(token.jkt ? 'DPoP' : 'Bearer', 'invalid_token', `not a token for ${scheme}`);
  if (token.jkt) await checkProof(ctx, value, token);
  if (token['x5t#S256']) {
    const certificate = ctx.socket.getPeerCertificate?.()?.raw;
    const thumbprint = certificate && createHash('sha256').update(certificate).digest('base64url');
    if (thumbprint !== token['x5t#S256']) throw new Refused('Bearer', 'invalid_token', 'bound to another certificate');
  }
  return token;
}

provider.use(async (ctx, next) => {
  if (ctx.path !== '/api' && !ctx.path.startsWith('/api/')) return next();
  counts.api += 1;
  const text = await body(ctx);
  if (settings.nonce) ctx.set('DPoP-Nonce', resourceNonce);
  try {
    const token = await authorize(ctx);
    ctx.body = {
      method: ctx.method, path: ctx.path, query: ctx.querystring, body: text, client: token.clientId,
      subject: subjectOf(token), scope: token.scope ?? '',
    };
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    counts.api_401 += 1;
    const { scheme, error, message } = refused;
    const told = error ? `, error="${error}", error_description="${message}"` : '';
    ctx.status = 401;
    ctx.set('WWW-Authenticate', `${scheme} realm="api"${told}${scheme === 'DPoP' ? `, algs="${ALGORITHMS.join(' ')}"` : ''}`);
    ctx.body = { error: error ?? 'no token', error_description: message };
  }
  return undefined;
});

// ------------------------------------------------------------------------------------- what the tests control

function revoke({ token, refresh }) {
  const models = ['AccessToken', 'ClientCredentials', ...(refresh || token ? ['RefreshToken'] : [])];
  for (const key of records.keys()) {
    const [model, id] = key.split(':');
    if (models.includes(model) && (token === undefined || id === token)) records.delete(key);
  }
}

function hold() {
  const made = {};
  made.released = new Promise((resolve) => { made.release = resolve; });
  return made;
}
let held = hold(); // the answers that are delayed

const control = {
  '/__count': () => counts,
  '/__revoke': revoke,
  '/__delay': ({ seconds }) => { settings.delay = seconds; },
  '/__release': () => { held.release(); held = hold(); },
  '/__fail': ({ times = 1, ...failure }) => { settings.failures = Array(times).fill(failure); },
  '/__set': (changed) => { Object.assign(settings, changed); },
  '/__refresh_nonce': () => { resourceNonce = randomBytes(16).toString('base64url'); },
  '/__reset': () => { Object.assign(settings, initially, { failures: [] }); counts = nothing(); },
};
provider.use(async (ctx, next) => {
  const act = control[ctx.path];
  if (!act) return next();
  ctx.body = act(JSON.parse((await body(ctx)) || '{}')) ?? {};
  return undefined;
});

provider.on('server_error', (_ctx, error) => console.error(error));
server.on('request', provider.callback());
const stop = () => { server.closeAllConnections(); server.close(() => process.exit(0)); };
process.on('SIGTERM', stop);
process.stdin.resume().on('end', stop).on('error', stop);
console.log('READY', issuer);
