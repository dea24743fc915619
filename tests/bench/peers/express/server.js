// SPDX-License-Identifier: MPL-2.0
//
// The donut shop's sales API on its own stack (Express, mysql2), as it would be written without its faults: one conditional
// UPDATE in autocommit decides and sells, so nothing is oversold and the answer leaves after the commit; prepared statements;
// an unknown product is 404. It keeps no ledger, knows no idempotency key and tells nobody that a shelf is empty.
//
// Settings: PORT, DB_PORT, POOL (connections per worker), WORKERS (processes; 1 means no cluster).
'use strict';

const cluster = require('cluster');
const express = require('express');
const mysql = require('mysql2/promise');

const WORKERS = Number(process.env.WORKERS || 1);

function serve() {
  const pool = mysql.createPool({
    host: '127.0.0.1',
    port: Number(process.env.DB_PORT),
    user: 'root',
    database: 'shop',
    connectionLimit: Number(process.env.POOL || 16),
  });
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');

  async function find(sku) {
    const [rows] = await pool.execute('SELECT sku, name, price, stock FROM product WHERE sku = ?', [sku]);
    return rows[0];
  }

  app.get('/readyz', (req, res) => res.json({ ready: true }));

  app.get('/product/:sku', async (req, res, next) => {
    try {
      const product = await find(req.params.sku);
      if (!product) return res.status(404).json({ message: 'no such product' });
      return res.json(product);
    } catch (error) {
      return next(error);
    }
  });

  app.post('/checkout', express.json(), async (req, res, next) => {
    try {
      const sku = (req.body && req.body.product) || 'donut';
      const [done] = await pool.execute('UPDATE product SET stock = stock - 1 WHERE sku = ? AND stock >= 1', [sku]);
      if (done.affectedRows === 1) return res.status(201).json({ product: sku, quantity: 1 });
      if (await find(sku)) return res.status(409).json({ message: 'out of stock', product: sku });
      return res.status(404).json({ message: 'no such product', product: sku });
    } catch (error) {
      return next(error);
    }
  });

  app.listen(Number(process.env.PORT), '127.0.0.1', 1024);
}

if (WORKERS > 1 && cluster.isPrimary) {
  for (let i = 0; i < WORKERS; i += 1) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.kill();
    process.exit(0);
  });
} else {
  serve();
}
