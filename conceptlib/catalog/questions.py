"""The SQL of the questions that the library itself asks."""

from __future__ import annotations

from typing import Final

# What `ls` shows. The newest of a kind and name has the highest `seq`, or none yet: it came a moment ago.
LIST: Final = """
    WITH newest AS (
        SELECT max_by(folder, (seq IS NULL, seq, created, id)) AS folder FROM artifacts GROUP BY kind, name
    ), picked AS (
        SELECT * FROM artifacts WHERE ($kind IS NULL OR kind = $kind) AND ($name IS NULL OR name GLOB $name)
        ORDER BY seq DESC NULLS FIRST, created DESC, id DESC LIMIT $limit
    ), named AS (SELECT id, any_value(name) AS name FROM artifacts GROUP BY id
    ), sources AS (
        SELECT p.folder, map(list(p.role ORDER BY p.role), list(p.parent_id ORDER BY p.role)) AS parents,
            arg_min(coalesce(n.name || '@', '') || p.parent_id,
                (CASE p.role WHEN 'checkpoint' THEN 0 WHEN 'detector' THEN 2 WHEN 'dataset' THEN 1 ELSE 3 END, p.role)
            ) AS made_from
        FROM parents p LEFT JOIN named n ON n.id = p.parent_id
        WHERE p.folder IN (SELECT folder FROM picked) GROUP BY p.folder
    )
    SELECT a.kind, a.name, a.id, a.folder IN (SELECT folder FROM newest) AS newest, a.created, a.size, a.seconds,
        coalesce(lock->>'$.recipe.method', lock->>'$.spec.builder', lock->>'$.spec.adapter',
            lock->>'$.detector.adapter', info->>'$.suite') AS method,
        CASE WHEN kind = 'evaluation' AND lock->>'$.suite.params.target' IS NOT NULL
            THEN [lock->>'$.suite.params.target']
            ELSE coalesce(from_json(lock->'$.recipe.concepts', '["VARCHAR"]'),
                from_json(lock->'$.concepts', '["VARCHAR"]'), from_json(info->'$.concepts', '["VARCHAR"]'),
                from_json(info->'$.labels', '["VARCHAR"]')) END AS concepts,
        s.made_from, s.parents, a.folder
    FROM picked a LEFT JOIN sources s USING (folder)
    ORDER BY a.seq DESC NULLS FIRST, a.created DESC, a.id DESC"""

# What an artifact was made from, and what was made from it: only the edges that are reached. UNION keeps none twice,
# so that a circle of damaged manifests ends.
ANCESTORS: Final = """
    WITH RECURSIVE up AS (
        SELECT id, role, parent_id FROM parents WHERE id = $id
        UNION SELECT p.id, p.role, p.parent_id FROM parents p JOIN up ON p.id = up.parent_id)
    SELECT id, role, parent_id FROM up ORDER BY ALL"""
DESCENDANTS: Final = """
    WITH RECURSIVE down AS (
        SELECT parent_id, role, id FROM parents WHERE parent_id = $id
        UNION SELECT p.parent_id, p.role, p.id FROM parents p JOIN down ON p.parent_id = down.id)
    SELECT parent_id, role, id FROM down ORDER BY id, role, parent_id"""
SCORES_OF: Final = """
    SELECT evaluation, evaluation_id, subject, metric, value, low, high, n, concepts, detector, detector_id, threshold,
        seed, steps, guidance_scale
    FROM scores WHERE evaluation_id = $id OR checkpoint_id = $id ORDER BY ALL"""
