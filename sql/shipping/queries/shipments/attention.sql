-- How many shipments wait for an operator, counted to 10,000: for the gauge.
select count(*) as shipments from (
    select from shipping.shipments s where s.state = 'needs_attention' limit 10000) a
