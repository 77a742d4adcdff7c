set terminal svg size 480,340 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'amount_lightgcn'
set output 'amount-lightgcn.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
$gains << END
"positives"
1 0.00480930821 0.00184792437
5 0.00351829083 0.00225457042
10 -0.000231615576 0.00242264979


"exclude_from_negatives"
1 0.00295654029 0.00128239429
5 0.00658880161 0.00169338102
10 0.00736259676 0.00171508354


"both"
1 0.00480930821 0.00184792437
5 0.00351829083 0.00225457042
10 -0.000231615576 0.00242264979


END
set key maxcols 1
set title 'lightgcn'
set xlabel 'synthetic rows a user'
set ylabel 'gain in ndcg@20 on validation'
set offsets graph 0.05, graph 0.05, graph 0.05, graph 0.05
set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#444444'
plot for [i=0:2] $gains index i using 1:2:3:xtic(1) with yerrorlines pt 7 ps 0.6 lw 1.5 title columnheader(1)
