set terminal svg size 480,340 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'amount_bpr_mf'
set output 'amount-bpr_mf.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
$gains << END
"positives"
1 0.00121508167 0.00322881936
5 0.0082714653 0.00228562384
10 0.00702953083 0.00214115649


"exclude_from_negatives"
1 0.000765373957 0.00159803207
5 0.00332087186 0.00275771165
10 0.00674191355 0.00358863302


"both"
1 0.00121508167 0.00322881936
5 0.0082714653 0.00228562384
10 0.00702953083 0.00214115649


END
set key maxcols 1
set title 'bpr_mf'
set xlabel 'synthetic rows a user'
set ylabel 'gain in ndcg@20 on validation'
set offsets graph 0.05, graph 0.05, graph 0.05, graph 0.05
set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#444444'
plot for [i=0:2] $gains index i using 1:2:3:xtic(1) with yerrorlines pt 7 ps 0.6 lw 1.5 title columnheader(1)
