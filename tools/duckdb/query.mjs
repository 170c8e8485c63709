// Runs the SQL statements of standard input, a JSON array of texts, one after the other in a new database in memory, and prints what the last of them
// answers: a JSON array of rows, in which numbers beyond 32 bits, decimals and times are texts.
import { DuckDBInstance } from '@duckdb/node-api';

const options = { threads: '2', autoinstall_known_extensions: 'false' };
const statements = JSON.parse(await new Response(process.stdin).text());
const instance = await DuckDBInstance.create(':memory:', options);
const connection = await instance.connect();
let rows = [];
for (const statement of statements) {
  const reader = await connection.runAndReadAll(statement);
  rows = reader.getRowObjectsJson();
}
process.stdout.write(JSON.stringify(rows) + '\n');
connection.closeSync();
instance.closeSync();
