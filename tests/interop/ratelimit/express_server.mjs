// express with express-rate-limit: a path for each way to announce, and each quota that the tests need.
// Clients are told apart by X-Key, so that every test finds a fresh quota.
import express from 'express';
import { rateLimit } from 'express-rate-limit';

const ways = {
  'draft-6': { standardHeaders: 'draft-6', legacyHeaders: false },
  'draft-7': { standardHeaders: 'draft-7', legacyHeaders: false },
  'draft-8': { standardHeaders: 'draft-8', legacyHeaders: false, identifier: 'quota' },
  legacy: { standardHeaders: false, legacyHeaders: true },
  both: { standardHeaders: 'draft-6', legacyHeaders: true },
};
const app = express();
const keyGenerator = (request) => request.get('x-key') ?? 'nobody';
for (const [way, options] of Object.entries(ways)) {
  for (const [limit, seconds] of [[3, 60], [10, 1]]) {
    const limiter = rateLimit({ windowMs: 1000 * seconds, limit, keyGenerator, ...options });
    app.all(`/${way}/${limit}/${seconds}`, limiter, (_request, response) => response.json({ ok: true }));
  }
}
const server = app.listen(0, '127.0.0.1', () => console.log('READY', `http://127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => { server.closeAllConnections(); server.close(() => process.exit(0)); });
