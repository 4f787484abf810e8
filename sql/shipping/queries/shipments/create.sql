-- A shipment with its cases, their lines and its ledger, and what it takes of the order's lines. One statement, for it is
-- what every POST does. Returns how many lines it reserved: fewer than there are means that an order has no such line or
-- not that much left of it, and the transaction is to be rolled back.
-- $1 uuid  shipment      $2 text  order   $3 text  caller   $4 text  where to, as JSON   $5 text  from where, as JSON
-- $6 smallint[]  cases   $7 uuid[]  their references        $8 integer[]  grams          $9 integer[]  lengths, mm
-- $10 integer[]  widths  $11 integer[]  heights
-- $12 smallint[]  per line of a case: the case              $13 smallint[]  the order's line  $14 integer[]  how many
-- $15 text[]  ledger: steps   $16 text[]  subjects          $17 boolean[]  asked         $18 integer[]  tasks
with wanted as (
    select n.line_no, sum(n.quantity)::integer as quantity
    from unnest($12::smallint[], $13::smallint[], $14::integer[]) as n (case_no, line_no, quantity)
    group by n.line_no
), locked as (
    select l.line_no
    from shipping.order_lines l
    where l.order_id = $2 and l.line_no in (select w.line_no from wanted w)
    order by l.line_no
    for no key update
), reserved as (
    update shipping.order_lines l set reserved = l.reserved + w.quantity
    from wanted w join locked using (line_no)
    where l.order_id = $2 and l.line_no = w.line_no and l.reserved::bigint + l.shipped + w.quantity <= l.ordered
    returning l.line_no
), shipment as (
    insert into shipping.shipments (shipment_id, order_id, caller, ship_to, ship_from)
    values ($1, $2, $3, $4::jsonb, $5::jsonb)
), cases as (
    insert into shipping.cases (shipment_id, case_no, reference, weight_grams, length_mm, width_mm, height_mm)
    select $1, n.*
    from unnest($6::smallint[], $7::uuid[], $8::integer[], $9::integer[], $10::integer[], $11::integer[]) as n
), lines as (
    insert into shipping.case_lines (shipment_id, case_no, order_id, line_no, quantity)
    select $1, n.case_no, $2, n.line_no, n.quantity
    from unnest($12::smallint[], $13::smallint[], $14::integer[]) as n (case_no, line_no, quantity)
    -- Short of something: the caller rolls back, and is to hear of it by the count rather than by a trigger.
    where (select count(*) from reserved) = (select count(*) from wanted)
), steps as (
    insert into shipping.steps (shipment_id, step, subject, asked, task)
    select $1, n.*
    from unnest($15::text[], $16::text[], $17::boolean[], $18::integer[]) as n
)
select (select count(*) from reserved) = (select count(*) from wanted) as enough
