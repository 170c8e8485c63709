package mysql

// statsPlan is what one statement asks: the state alone if no placement is known yet, else the rows as well.
type statsPlan struct {
	request   *StatsRequest
	placement *placement
	ids       map[int]uint64 // of keys that an earlier statement found, by place in the request, when there are many
	term      uint64         // of ids
	allTables bool           // the statement names every table that one which follows may read

	pieces []piece
	rows   bool // were asked
}

// keyByName names one key. The server looks it up before it plans, and then reads just the range.
const keyByName = "m.key_id = (SELECT k.id FROM counted_keys k WHERE k.partition_id = ? AND k.name = ?)"

// query writes the statement, and tells the reader what comes.
func (p *statsPlan) query(sr *statsReader, archive bool) *query {
	r := p.request
	q := headerQuery(r.Keys, archive, p.placement == nil || p.placement.everRestored)
	p.pieces, p.rows = nil, p.placement != nil && (len(r.Keys) == 1 || p.ids != nil)
	if p.allTables {
		q.addTables(archive)
	}
	if unknown := sr.adopt(p.ids); len(unknown) > 0 {
		q.add(keysQuery(unknown))
	}
	if p.rows {
		p.pieces = p.placement.pieces(divide(r.From, r.To, r.Step, p.placement.watermarks))
	}
	sr.expect(p.pieces)
	predicate, args := keyByName, []any{r.Keys[0].Partition, r.Keys[0].Name}
	if len(r.Keys) > 1 {
		predicate, args = "m.key_id IN ("+joined(sr.ids())+")", nil
	}
	for i, one := range p.pieces {
		switch {
		case len(r.Keys) > 1 && len(p.ids) == 0: // no key, no rows
		case one.place == cold:
			q.add(objectsQuery(partitionsOf(r.Keys), one, i))
		default:
			q.add(pieceQuery(r, one, predicate, args...))
		}
	}
	return q
}

// holds tells whether what a plan went by is what its statement's snapshot holds.
func (p *statsPlan) holds(sr *statsReader) bool {
	return p.rows && p.placement.equal(sr.placement) && (p.ids == nil || p.term == sr.header.Term && len(p.ids) == len(sr.found))
}

// plan is what to ask after the state is known.
func (sr *statsReader) plan() *statsPlan {
	plan := &statsPlan{request: sr.request, placement: sr.placement}
	if len(sr.request.Keys) > 1 {
		plan.ids, plan.term = sr.found, sr.header.Term
	}
	return plan
}

// addTables reads nothing of all tables that may hold rows of an answer.
func (q *query) addTables(archive bool) {
	tables := []string{"event_types", "counted_keys"}
	for _, r := range countsTables() {
		tables = append(tables, r.table)
		if archive {
			tables = append(tables, r.late, r.restored)
		}
	}
	if archive {
		tables = append(tables, "archive_manifest")
	}
	for _, table := range tables {
		q.text.WriteString(" UNION ALL (SELECT 9, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM " + table + " LIMIT 0)")
	}
}
